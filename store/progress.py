"""The progress bar of a long command."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress_bar(name: str, total: int | None = None) -> Iterator[Callable[[str], None]]:
    """Show a bar on a terminal. Call what it gives with the name of each step."""
    # disable=None shows the bar only on a terminal.
    with tqdm(desc=name, total=total, disable=None, leave=False, unit=" steps") as bar:

        def show(step: str) -> None:
            bar.set_postfix_str(step, refresh=False)
            bar.update()

        yield show
