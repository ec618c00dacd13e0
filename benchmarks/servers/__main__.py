"""`python -m benchmarks.servers` runs `sfd bench servers`."""

import sys

from sfd.cli import run_command

sys.exit(run_command("bench servers"))
