"""The subcommands of `sfd` that train and measure."""
