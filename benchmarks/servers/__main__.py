"""`python -m benchmarks.servers`."""

import sys

from benchmarks.servers.command import main

sys.exit(main())
