"""How the commands under `benchmarks/` end."""

import subprocess
import sys
from collections.abc import Callable

from sfd.errors import SfdError


def exit_code(name: str, run: Callable[[], object]) -> int:
    """Run a command; 0, or the exit code of its SfdError, which is printed in one line.

    So are errors of files and of programs that it runs, with exit code 1.
    """
    try:
        run()
    except SfdError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
