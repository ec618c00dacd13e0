"""`sfd models`: lists, checks, builds, adds, pulls and removes models of the store."""

import argparse
import json
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sfd.arguments import fraction, number, numbers, size, words
from sfd.cli import add_subcommands
from sfd.errors import SfdError
from sfd.terminal import is_utf8, say
from store.catalog import default_catalog
from store.catalog import load as load_catalog
from store.listing import Listed, card, data, examine, listing, table
from store.model import MOST_PIXELS, ModelError, load
from store.options import add_options, catalog, folder_of
from store.places import installed, locate, store_for, stores
from store.progress import progress_bar
from store.remove import remove

# Only the actions that convert import the converter and its libraries, so `sfd models verify` runs
# where only the service is installed.

DESCRIPTION = """\
List, show and verify the models of the store; build their ONNX files; add, pull, quantize and
remove models.

A store is a folder with one folder for each model. sfd uses the first of these that is given or
exists:

  --store DIR
  $SFD_MODEL_STORE
  ./model_store
  the model_store of the checkout that sfd runs from

An installed sfd has no checkout. It searches several stores: ./model_store, then models in
your data folder, then those that came with the package. `add` and `pull` write to the first.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands of `sfd models`."""
    add_options(parser)
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        # Accepted before and after ACTION. SUPPRESS keeps this default from overwriting a value
        # that was given before ACTION.
        absent = argparse.SUPPRESS
        add_options(made, default=absent)
        made.add_argument(
            "--debug",
            action="store_true",
            default=absent,
            help="show the traceback if the command fails",
        )
        return made

    for_json = "print the result as JSON"
    listed = command("list", "list the models in the store and those that can be pulled")
    listed.add_argument("--json", action="store_true", help=for_json)
    shown = command("show", "show everything that is known about a model")
    shown.add_argument("name", metavar="NAME", help="as `sfd models list` shows it")
    shown.add_argument("--json", action="store_true", help=for_json)
    verified = command("verify", "compare every model file with its hash")
    verified.add_argument(
        "names", nargs="*", metavar="NAME", help="default: all models in the store"
    )

    built = command("build", "convert the models whose ONNX file is missing or out of date")
    built.add_argument("names", nargs="*", metavar="NAME", help="default: all models in the store")
    built.add_argument(
        "--force", action="store_true", help="also rebuild models that are up to date"
    )
    added = command("add", "convert your own Caffe detector and add it to the store")
    added.add_argument("prototxt", type=Path, metavar="PROTOTXT", help="its deploy prototxt")
    added.add_argument("caffemodel", type=Path, metavar="CAFFEMODEL", help="its weights")
    added.add_argument("--name", required=True, help="the name under which the service offers it")
    added.add_argument(
        "--mean",
        type=numbers,
        metavar="B,G,R",
        help="mean to subtract from the pixels (default: 104,117,123)",
    )
    added.add_argument(
        "--scale", type=number, default=1.0, help="factor applied after the mean (default: 1.0)"
    )
    added.add_argument(
        "--channel-order",
        choices=("bgr", "rgb", "gray"),
        help="the network's channel order (default: bgr)",
    )
    added.add_argument(
        "--score", type=fraction, default=0.5, help="the model's default min_score (default: 0.5)"
    )
    added.add_argument(
        "--class-names",
        type=words,
        metavar="A,B",
        help="class names without the background (default: face)",
    )
    added.add_argument("--title", type=_text, help="a short title")
    added.add_argument("--licence", type=_text, default="not stated", help="licence of the weights")
    added.add_argument("--origin", type=_text, help="where the model comes from")
    pulled = command("pull", "download a published model of the catalog into the store")
    pulled.add_argument("name", metavar="NAME", help="as `sfd models list` shows it")
    removed = command("remove", "delete models from the store")
    removed.add_argument("names", nargs="+", metavar="NAME", help="as `sfd models list` shows it")
    add_subcommands("models", commands)
    for parser_of_size in (added, pulled):
        parser_of_size.add_argument(
            "--input-size", type=_size, metavar="N|HxW", help="input size, if not the model's own"
        )
    for converting in (built, added, pulled):
        converting.add_argument(
            "--verify",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="compare the ONNX file with OpenCV's Caffe importer (default: yes)",
        )


def run(arguments: argparse.Namespace) -> None:
    """Run a subcommand. Raises SfdError if it fails."""
    actions = {
        "list": _list,
        "show": _show,
        "verify": _verify,
        "build": _build,
        "add": _add,
        "pull": _pull,
        "remove": _remove,
    }
    actions[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> None:
    rows = listing(installed(arguments.store), catalog(arguments))
    say(_json([data(row) for row in rows]) if arguments.json else table(rows))


def _show(arguments: argparse.Namespace) -> None:
    available = catalog(arguments)
    try:
        folder = locate(arguments.name, arguments.store)
    except ModelError:
        if arguments.name not in available:
            raise
        row = Listed(arguments.name, "available", description=available[arguments.name])
    else:
        row = examine(folder)
        if row.description is None:
            raise ModelError(row.problem)
    say(_json(data(row)) if arguments.json else card(row))


def _verify(arguments: argparse.Namespace) -> None:
    rows = [examine(folder) for folder in _folders(arguments)]
    for row in rows:
        if not row.problem:
            say(f"{row.name}: all files match their hashes")
    _complain([row.problem for row in rows if row.problem])


def _build(arguments: argparse.Namespace) -> None:
    from store.build import build, is_built

    failures = []
    for folder in _folders(arguments):
        try:
            model = load(folder)
            if is_built(model) and not arguments.force:
                say(f"{model.name}: {model.onnx.name} is up to date")
                continue
            with _warnings(model.name) as warn, progress_bar(model.name) as progress:
                made = build(model, verify=arguments.verify, progress=progress, warn=warn)
            say(f"{model.name}: built {model.onnx}, {made.verification}")
        except SfdError as error:
            failures.append(f"{folder.name}: {error}")
    _complain(failures)


def _add(arguments: argparse.Namespace) -> None:
    from convert.options import Options
    from convert.outputs.preprocessing import ChannelOrder
    from store.add import Card, add

    order = arguments.channel_order
    options = Options(
        input_size=arguments.input_size,
        channel_order=ChannelOrder(order) if order else None,
        mean=arguments.mean,
        scale=arguments.scale,
        class_names=arguments.class_names,
        verify=arguments.verify,
    )
    about = Card(
        title=arguments.title or "",
        licence=arguments.licence,
        origin=arguments.origin or "",
        default_score=arguments.score,
    )
    sources = arguments.prototxt, arguments.caffemodel
    with _warnings(arguments.name) as warn, progress_bar(arguments.name) as progress:
        model = add(
            store_for(arguments.name, arguments.store),
            arguments.name,
            *sources,
            options=options,
            card=about,
            progress=progress,
            warn=warn,
        )
    say(f"{model.name}: added in {model.folder}")


def _pull(arguments: argparse.Namespace) -> None:
    from store.pull import pull

    path = arguments.catalog or default_catalog(arguments.store)
    with _warnings(arguments.name) as warn, progress_bar(arguments.name) as progress:
        model = pull(
            store_for(arguments.name, arguments.store),
            arguments.name,
            load_catalog(path),
            input_size=arguments.input_size,
            verify=arguments.verify,
            progress=progress,
            warn=warn,
        )
    say(f"{model.name}: pulled into {model.folder}")


def _remove(arguments: argparse.Namespace) -> None:
    # Check all names first, so that a misspelled one doesn't stop the command halfway.
    for name in arguments.names:
        folder_of(name, arguments)
    for name in dict.fromkeys(arguments.names):
        say(f"{name}: removed {remove(name, arguments.store)}")


def _folders(arguments: argparse.Namespace) -> tuple[Path, ...]:
    if arguments.names:
        return tuple(folder_of(name, arguments) for name in dict.fromkeys(arguments.names))
    folders = installed(arguments.store)
    if not folders:
        store = stores(arguments.store)[0]
        raise ModelError(
            f"the model store {store} has no model: get one with `sfd models pull NAME`"
        )
    return folders


def _complain(failures: Sequence[str]) -> None:
    if failures:
        raise ModelError("; ".join(failures))


def _json(value: object) -> str:
    # In ASCII: a terminal obeys some of the other characters.
    return json.dumps(value, indent=2)


@contextmanager
def _warnings(name: str) -> Iterator[Callable[[str], object]]:
    """Collects warnings of a model, and shows them below the progress bar.

    Also for a model that is refused, because they may explain why.
    """
    warnings: list[str] = []
    try:
        yield warnings.append
    finally:
        for warning in warnings:
            say(f"sfd models: warning: {name}: {warning}", error=True)


def _size(text: str) -> tuple[int, int]:
    found = size(text)
    if max(found) > MOST_PIXELS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is too large: each side can have at most {MOST_PIXELS} pixels"
        )
    return found


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the text is empty: give a text, or leave the option out")
    if not is_utf8(text):
        raise argparse.ArgumentTypeError("the text is not UTF-8")
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text):
        raise argparse.ArgumentTypeError(
            "the text has a line break or another control character: give one line"
        )
    return text
