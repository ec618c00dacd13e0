"""Generate the tables in these pages from the code.

    python docs/generate.py            rewrite the text between the marks
    python docs/generate.py --check    change nothing; exit with 1 if a page is out of date

A page marks a table's place with `<!-- generated: NAME -->` and `<!-- /generated -->`.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import cast

import yaml
from prometheus_client.metrics import MetricWrapperBase

from benchmarks import tradeoff
from benchmarks.markdown import table
from benchmarks.servers import tables
from benchmarks.servers.results import RESULTS, Results
from convert.layers import registry
from service import errors, settings
from service.metrics import Metrics
from sfd.cli import COMMANDS, Command
from sfd.terminal import Parser
from training import hyperparameters
from training.recipe import Recipe

DOCS = Path(__file__).parent
RULES = DOCS.parent / "docker" / "prometheus" / "rules"
MARK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def settings_table() -> str:
    """Every setting of the service."""
    rows = ((f"`{name}`", accepts, text) for name, accepts, text in settings.describe())
    return table(("variable", "accepts", "what"), rows)


def errors_table() -> str:
    """Every error answer."""
    rows = (
        (str(kind.status), f"`{kind.slug}`", kind.title, inspect.getdoc(kind) or "")
        for kind in errors.DOCUMENTED
    )
    return table(("status", "type", "title", "when"), rows)


def layers_table() -> str:
    """Every Caffe layer that the converter reads."""
    rows = ((f"`{name}`", summary) for name, summary in registry.layer_types().items())
    return table(("layer type", "what Caffe computes"), rows)


def alerts_table() -> str:
    """Every alert with its severity and query."""
    groups = yaml.safe_load((RULES / "alerts.yml").read_text("utf-8"))["groups"]
    rows = (
        (
            f"[{rule['alert']}](runbook.md#{rule['alert'].lower()})",
            rule["labels"]["severity"],
            rule.get("for", "0s"),
            f"`{' '.join(rule['expr'].split())}`",
        )
        for group in groups
        for rule in group["rules"]
    )
    return table(("alert", "severity", "for", "when"), rows)


def metrics_table() -> str:
    """Every metric of the service itself, under the name that a query uses."""
    rows = []
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            rows.append((f"`{name}`", family.type, labels, family.documentation))
    return table(("metric", "type", "labels", "what"), rows)


def recipe_table() -> str:
    """Every hyperparameter of a distillation."""
    rows = (
        (f"`{name}`", default, about) for name, default, about in hyperparameters.describe(Recipe)
    )
    return table(("name", "default", "what"), rows)


def commands_list() -> str:
    """Every command with its arguments."""
    sections = []
    for name, (module, summary) in COMMANDS.items():
        command = cast(Command, import_module(module))
        parser = Parser(prog=f"sfd {name}")
        command.add_arguments(parser)
        level = "##" + "#" * name.count(" ")
        sections.append(f"{level} sfd {name}\n\n{summary[0].upper()}{summary[1:]}.\n")
        sections += [
            f"### {prog}\n\n{description}\n\n{table(('argument', 'what'), rows)}"
            if prog != parser.prog
            else table(("argument", "what"), rows)
            for prog, description, rows in arguments(parser)
            if rows
        ]
    return "\n".join(sections)


def arguments(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, str, list[tuple[str, ...]]]]:
    """Yield each (sub)parser's name, description and rows. argparse has no public API for this."""
    rows: list[tuple[str, ...]] = []
    nested: list[argparse.ArgumentParser] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            nested += action.choices.values()
        elif not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS:
            rows.append((f"`{_spelling(action)}`", _text(action)))
    yield parser.prog, parser.description or "", rows
    for below in nested:
        yield from arguments(below)


def _spelling(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    if isinstance(value, tuple):
        value = " ".join(value)
    return " ".join([", ".join(action.option_strings), value]).strip()


def _text(action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": "sfd"}


def performance_table(name: str) -> str:
    """A table of the comparison of servers, from its committed results."""
    return tables.TABLES[name](Results.read(RESULTS))


def precisions_table() -> str:
    """Speed and accuracy of each precision, from their committed measurements."""
    return tradeoff.costs(tradeoff.read())


TABLES: dict[str, Callable[[], str]] = {
    "alerts": alerts_table,
    "commands": commands_list,
    "errors": errors_table,
    "layers": layers_table,
    "metrics": metrics_table,
    "precisions": precisions_table,
    "recipe": recipe_table,
    "settings": settings_table,
    **{f"performance_{name}": partial(performance_table, name) for name in tables.TABLES},
}


def generated(text: str) -> str:
    """Return a page with the tables between its marks regenerated."""
    return MARK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


def main() -> int:
    """Rewrite or check every page and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    stale = 0
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text("utf-8")
        if (fresh := generated(text)) != text:
            stale += 1
            print(f"{'out of date' if check else 'rewritten'}: {page}")
            if not check:
                page.write_text(fresh, "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
