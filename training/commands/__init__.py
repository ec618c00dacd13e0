"""The commands `sfd train` and `sfd evaluate`."""
