"""A wheel of this project works in an empty environment, outside the checkout.

Needs a package index, from which pip downloads the dependencies.
Alone: `pytest -m wheel`.
"""

import functools
import hashlib
import http.server
import json
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli_w

from tests.environments import PIP

if TYPE_CHECKING:
    from tests.packaging.conftest import Installation

ROOT = Path(__file__).resolve().parents[2]
MODEL = "sfd-640-mobilenetv2-mod2"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
VERSION = PYPROJECT["project"]["version"]
SMALLER = ("--input-size", "320")
"""An input that takes a quarter of the time to verify."""
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)

pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def converter(install: Callable[..., "Installation"]) -> "Installation":
    """The wheel without any extra: the converter alone."""
    return install()


@pytest.fixture(scope="module")
def everything(install: Callable[..., "Installation"]) -> "Installation":
    """The wheel with the service, and with OpenCV, which verifies conversions."""
    return install("service", "verify")


# The contents of the wheel.


def test_the_wheel_has_every_package_with_its_types_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {*PACKAGES, f"sfd-{VERSION}.dist-info"}
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)


def test_pip_installs_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """The other tests install it by uv, which is faster."""
    options = ["--no-deps", "--no-index", "--no-compile", "--target", str(tmp_path)]
    subprocess.run([*PIP, "install", *options, f"{wheel}[service,verify]"], check=True)
    assert (tmp_path / "sfd/cli.py").is_file()
    assert (tmp_path / "bin/sfd").is_file()


def test_the_wheel_has_the_catalog_and_the_default_model_built_and_verified(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    folder = f"sfd/model_store/{MODEL}"
    build = json.loads(archive.read(f"{folder}/build.json"))
    assert (build["verification"], build["converter"]) == ("verified", VERSION)
    for file, member in (
        ("model.onnx", "sha256"),
        ("model.cpu.onnx", "cpu"),
        ("model.second_look.onnx", "second_look"),
    ):
        assert hashlib.sha256(archive.read(f"{folder}/{file}")).hexdigest() == build[member]
    assert (
        archive.read("sfd/model_store/catalog.toml")
        == (ROOT / "model_store/catalog.toml").read_bytes()
    )
    assert f"{folder}/NOTICE" in archive.namelist()


# The converter alone.


def test_the_converter_needs_no_web_framework(converter: "Installation") -> None:
    program = "from importlib.metadata import distributions as d; print(*(i.name for i in d()))"
    names = {name.lower() for name in converter.output("python", "-c", program).split()}
    assert {"sfd", "numpy", "onnx", "onnxruntime", "protobuf"} <= names
    extras = PYPROJECT["project"]["optional-dependencies"]
    declared = [line for name in ("models", "service", "verify") for line in extras[name]]
    unwanted = {re.split(r"[\[<>=;]", line)[0] for line in declared} - {"sfd"}
    assert not names & unwanted


def test_the_converter_alone_converts_and_says_how_to_verify(converter: "Installation") -> None:
    out = converter.folder / "command.onnx"
    done = converter.run("sfd", "convert", "deploy.prototxt", "weights.caffemodel", "-o", out)
    assert done.returncode == 0
    assert out.is_file()
    assert "is unverified: install OpenCV 4" in done.stderr
    assert "pip install 'sfd[verify]'" in done.stderr


@pytest.mark.parametrize("page", ["convert/__init__.py", "docs/convert.md"])
def test_the_converter_can_be_called_from_python(converter: "Installation", page: str) -> None:
    examples = EXAMPLE.findall((ROOT / page).read_text("utf-8"))
    printed = converter.output("python", "-c", "\n".join(examples)).splitlines()
    assert printed[0].startswith("unverified {'boxes': ['batch', ")
    assert printed[1].startswith("boxes")
    assert (converter.folder / "model.onnx").is_file()
    (converter.folder / "model.onnx").unlink()


def test_a_type_checker_sees_the_types_of_the_converter(converter: "Installation") -> None:
    program = converter.folder / "typed.py"
    program.write_text(
        "from convert import convert_file\nreveal_type(convert_file)\nconvert_file(1, 2, 3)\n",
        "utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir",
         str(converter.folder / ".mypy_cache"), "--python-executable", str(converter.python),
         program.name],
        cwd=converter.folder, env=converter.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert "-> convert.report.Report" in done.stdout
    assert done.stdout.count('expected "Path') == 3, done.stdout
    assert "py.typed" not in done.stdout


@pytest.mark.parametrize(
    ("command", "extras"),
    [
        (("serve",), "service"),
        (("detect", "sample.jpg"), "detect"),
        (("models", "list"), "models"),
        (("bench",), "models,verify"),
        (("train", "solver.prototxt"), "train"),
        (("evaluate",), "detect"),
    ],
)
def test_a_command_without_its_extra_names_it_in_one_line(
    converter: "Installation", command: tuple[str, ...], extras: str
) -> None:
    done = converter.run("sfd", *command)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"sfd {command[0]}: needs the Python package ")
    assert line.endswith(f"run pip install 'sfd[{extras}]'")


# With the service.


def test_the_version_is_the_one_of_pyproject(everything: "Installation") -> None:
    assert everything.output("sfd", "--version") == f"sfd {VERSION}\n"


def test_the_model_of_the_wheel_is_ready_and_the_catalog_is_there(
    everything: "Installation",
) -> None:
    rows = json.loads(everything.output("sfd", "models", "list", "--json"))
    states = {row["name"]: row["state"] for row in rows}
    assert states.pop(MODEL) == "ready"
    assert set(states.values()) == {"available"}
    assert "sfd-320-mod5-nobn" in states
    assert f"{MODEL}: ready" in everything.output("sfd", "models", "show", MODEL)
    for name in ((), (MODEL,)):
        verified = everything.output("sfd", "models", "verify", *name)
        assert verified == f"{MODEL}: all files match their hashes\n"
    assert everything.output("sfd", "models", "build") == f"{MODEL}: model.onnx is up to date\n"


def test_detect_finds_the_face_of_the_sample(everything: "Installation") -> None:
    (line,) = everything.output("sfd", "detect", "sample.jpg", "--draw", "found.jpg").splitlines()
    name, *_, score = line.split("\t")
    assert name == "sample.jpg"
    assert float(score) > 0.9
    assert (everything.folder / "found.jpg").is_file()


def test_bench_measures_both_runtimes(everything: "Installation") -> None:
    table = everything.output("sfd", "bench", "--rounds", "1", "--batch", "1", "--threads", "1")
    assert "onnxruntime, batch 1" in table
    assert "OpenCV" in table


def wait_until_ready(address: str) -> None:
    """Wait until the models are warm; the test fails after a minute."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=60):
                return
        except urllib.error.HTTPError as error:
            error.close()
            assert time.monotonic() < deadline, "the service is not ready after a minute"
            time.sleep(0.1)


def test_serve_answers_and_ends_with_0(everything: "Installation") -> None:
    with subprocess.Popen(
        [everything.python.with_name("sfd"), "serve"],
        cwd=everything.folder,
        env=everything.environment | {"SFD_PORT": "0", "SFD_LOG_FORMAT": "console"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            address = next(
                found[0]
                for line in process.stderr
                if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
            )
            drain = threading.Thread(target=process.stderr.read)
            drain.start()
            wait_until_ready(address)
            photo = (everything.folder / "sample.jpg").read_bytes()
            with urllib.request.urlopen(f"{address}/detect", photo, timeout=60) as answer:
                assert len(json.load(answer)["faces"]) == 1
            with urllib.request.urlopen(f"{address}/", timeout=60) as page:
                assert b"<html" in page.read()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            drain.join()
        finally:
            process.kill()


def test_an_added_model_goes_to_the_users_data_folder(
    everything: "Installation",
) -> None:
    sources = ("deploy.prototxt", "weights.caffemodel")
    added = everything.output("sfd", "models", "add", *sources, "--name", "mine", *SMALLER)
    folder = Path(added.strip().removeprefix("mine: added in "))
    assert folder.name == "mine"
    assert folder.is_relative_to(everything.folder.parent / "home")
    rows = json.loads(everything.output("sfd", "models", "list", "--json"))
    assert {"mine", MODEL} == {row["name"] for row in rows if row["state"] == "ready"}
    assert everything.output("sfd", "models", "verify") == (
        f"mine: all files match their hashes\n{MODEL}: all files match their hashes\n"
    )
    assert "sample.jpg" in everything.output("sfd", "detect", "--model", "mine", "sample.jpg")
    served = everything.run("sfd", "serve", "--dry-run", SFD_MODELS=f"mine,{MODEL}")
    assert served.returncode == 0
    assert "mine version 1 on cpu" in served.stdout
    assert f"{MODEL} version " in served.stdout


def test_a_model_of_the_wheel_cannot_be_hidden_by_accident(everything: "Installation") -> None:
    sources = ("deploy.prototxt", "weights.caffemodel")
    done = everything.run("sfd", "models", "add", *sources, "--name", MODEL)
    assert done.returncode == 1
    assert f"{MODEL} exists already; choose another name" in done.stderr


@pytest.fixture
def mirror(everything: "Installation") -> Iterator[Path]:
    """A catalog with one model, `pulled`, whose files come from a server on this machine."""
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(everything.folder)
    )
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        described = tomllib.loads((ROOT / "model_store" / MODEL / "model.toml").read_text("utf-8"))
        del described["name"]
        described.pop("results", None)
        described["input"] |= {"height": 320, "width": 320}
        described["sources"] = {
            role: described["sources"][role]
            | {
                "url": f"http://127.0.0.1:{server.server_port}/{file}",
                "size": (everything.folder / file).stat().st_size,
            }
            for role, file in (("deploy", "deploy.prototxt"), ("weights", "weights.caffemodel"))
        }
        catalog = everything.folder / "catalog.toml"
        catalog.write_text(tomli_w.dumps({"pulled": described}), "utf-8")
        yield catalog
        server.shutdown()


def test_a_pulled_model_goes_to_the_users_data_folder_or_the_set_store(
    everything: "Installation", mirror: Path
) -> None:
    pull = ("sfd", "models", "pull", "pulled", "--catalog", mirror)
    pulled = everything.output(*pull)
    assert str(everything.folder.parent / "home") in pulled
    assert "pulled: ready" in everything.output("sfd", "models", "show", "pulled")
    chosen = everything.folder / "chosen"
    elsewhere = everything.output(*pull, SFD_MODEL_STORE=str(chosen))
    assert elsewhere == f"pulled: pulled into {chosen}/pulled\n"
    alone = everything.output("sfd", "models", "verify", SFD_MODEL_STORE=str(chosen))
    assert alone == "pulled: all files match their hashes\n"


def test_a_model_store_in_the_current_folder_comes_first(everything: "Installation") -> None:
    folder = everything.folder / "model_store"
    folder.mkdir()
    try:
        sources = ("deploy.prototxt", "weights.caffemodel")
        added = everything.output("sfd", "models", "add", *sources, "--name", "local", *SMALLER)
        assert added == "local: added in model_store/local\n"
        listed = everything.output("sfd", "models", "list").splitlines()
        assert [line.split()[:2] for line in listed[1:2]] == [["local", "ready"]]
        assert any(line.startswith(f"{MODEL} ") for line in listed)
    finally:
        folder.rename(everything.folder / "not a store")


def test_the_users_modules_in_the_current_folder_do_not_matter(
    everything: "Installation",
) -> None:
    for name in {*PACKAGES} - {"sfd"}:
        module = everything.folder / f"{name}.py"
        module.write_text("raise SystemExit('a module of the user')\n", "utf-8")
    try:
        for program in (("sfd",), ("python", "-m", "sfd")):
            for variables in ({}, {"PYTHONPATH": "."}):
                assert MODEL in everything.output(*program, "models", "list", **variables)
            # With the variable, which makes it harder; each run takes seconds.
            run = functools.partial(everything.output, PYTHONPATH=".")
            assert "usage: sfd bench" in run(*program, "bench", "--help")
            assert "usage: sfd serve" in run(*program, "serve", "--help")
            assert "sample.jpg" in run(*program, "detect", "sample.jpg")
        done = everything.run(
            *("python", "-m", "sfd", "convert"),
            *("deploy.prototxt", "weights.caffemodel", "-o", "shadowed.onnx", *SMALLER),
        )
        assert done.returncode == 0, done.stderr
    finally:
        for name in {*PACKAGES} - {"sfd"}:
            (everything.folder / f"{name}.py").unlink()
