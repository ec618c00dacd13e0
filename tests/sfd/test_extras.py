import tomllib
from pathlib import Path

import pytest

from sfd import extras
from sfd.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]


CORE = {"convert", "design", "import-tensorflow"}
"""The commands that every installation runs."""


def test_every_other_command_names_extras_that_exist() -> None:
    assert extras.OF_COMMAND.keys() == COMMANDS.keys() - CORE
    named = {name for several in extras.OF_COMMAND.values() for name in several}
    assert named | set(extras.OF_PACKAGE.values()) <= DECLARED.keys()


@pytest.mark.parametrize(
    ("command", "module", "package", "install"),
    [
        ("serve", "service.command", "prometheus_client", "pip install 'sfd[service]'"),
        ("detect", "detection.command", "PIL", "pip install 'sfd[detect]'"),
        ("models", "store.command", "tqdm", "pip install 'sfd[models]'"),
        ("bench", "benchmarks.command", "tqdm", "pip install 'sfd[models,verify]'"),
        ("convert", "convert.command", "onnx", "pip install sfd"),
    ],
)
def test_a_missing_package_is_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    module: str,
    package: str,
    install: str,
) -> None:
    def importing(name: str) -> None:
        assert name == module
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr("sfd.cli.import_module", importing)
    assert main([command]) == 1
    assert capsys.readouterr().err == (
        f"sfd {command}: needs the Python package {package!r}, which is not installed: "
        f"run {install}\n"
    )


def test_a_package_of_another_extra_is_named_with_those_of_the_command() -> None:
    told = extras.lacking("evaluate", ModuleNotFoundError(name="scipy.io"))
    assert told.endswith("run pip install 'sfd[detect,evaluate]'")
