"""Whether this process runs a command and nothing else."""

import os
import sys

_PROGRAMS = {
    *("sfd", "service", "detection", "convert", "store", "training", "training.architecture"),
    *("benchmarks", "benchmarks.servers"),
}
"""The script and the modules that run a command and nothing else."""


def is_whole_process() -> bool:
    """Whether the command line of this process is that of the command, and can run once more.

    A notebook or a program that calls the command has another one. A program that was read from
    standard input or a pipe can't be read again.
    """
    given, arguments = sys.orig_argv[1:], sys.argv[1:]
    count = len(given) - len(arguments)
    program, rest = given[:count], given[count:]
    if rest != arguments or not program or os.path.basename(program[-1]) not in _PROGRAMS:
        return False
    is_module = program[-2:-1] == ["-m"]
    return is_module or (program[-1] == sys.argv[0] and os.path.isfile(sys.argv[0]))
