"""`python -m benchmarks` runs `sfd bench`."""

import sys

from sfd.cli import run_command

sys.exit(run_command("bench"))
