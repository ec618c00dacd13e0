"""`python -m detection` runs `sfd detect`."""

import sys

from sfd.cli import run_command

sys.exit(run_command("detect"))
