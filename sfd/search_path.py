"""Sets Python's module search path: sfd's packages come before files of the current folder."""

import os
import sys

from sfd.distribution import HOME


def put_current_folder_last() -> None:
    """Move the current folder to the end of `sys.path`, after the folder of sfd's packages.

    `python -m sfd` and `PYTHONPATH=.` put it first, so a user's own `store.py` would hide sfd's
    package `store`. The user's modules can still be imported. A checkout that is itself the current
    folder keeps its place. Processes that `multiprocessing` spawns inherit the order.
    """
    home = os.path.realpath(HOME)
    try:
        here = os.path.realpath(os.curdir)
    except FileNotFoundError:  # the current folder was deleted, so nothing can be imported from it
        return
    if here == home:
        return
    current = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) == here]
    if not current:
        return
    others = [entry for entry in sys.path if entry not in current]
    if home not in map(os.path.realpath, others):
        others.append(home)
    sys.path[:] = [*others, *current]
