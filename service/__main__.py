"""`python -m service` runs `sfd serve`."""

import sys

from sfd.cli import run_command

sys.exit(run_command("serve"))
