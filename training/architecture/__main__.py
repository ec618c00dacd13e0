"""`python -m training.architecture` is `sfd design`."""

import sys

from sfd.cli import run_command

sys.exit(run_command("design"))
