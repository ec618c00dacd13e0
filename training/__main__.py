"""`python -m training` is `sfd train`."""

import sys

from sfd.cli import run_command

sys.exit(run_command("train"))
