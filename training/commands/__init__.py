"""The commands `sfd train`, `sfd prune` and `sfd evaluate`."""
