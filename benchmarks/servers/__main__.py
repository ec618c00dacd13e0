"""`python -m benchmarks.servers`."""

import sys

from sfd.extras import lacking

try:
    from benchmarks.servers.command import main
except ModuleNotFoundError as error:
    sys.exit(f"benchmarks: {lacking('bench', error)}")

sys.exit(main())
