"""`python -m store` runs `sfd models`."""

import sys

from sfd.cli import run_command

sys.exit(run_command("models"))
