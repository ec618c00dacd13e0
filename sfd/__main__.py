"""`python -m sfd` runs the console command `sfd`."""

import sys

from sfd.cli import main

sys.exit(main())
