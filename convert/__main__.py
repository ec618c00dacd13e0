"""`python -m convert` runs `sfd convert`."""

import sys

from sfd.cli import run_command

sys.exit(run_command("convert"))
