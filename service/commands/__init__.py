"""The subcommands `sfd serve` and `sfd detect`."""
