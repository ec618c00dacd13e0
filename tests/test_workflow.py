"""The workflow for GitHub Actions and the pre-commit hook run commands that exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


def steps() -> list[dict[str, Any]]:
    return [
        step for path in WORKFLOWS for job in read(path)["jobs"].values() for step in job["steps"]
    ]


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def commands() -> list[list[str]]:
    """Every command line of the workflows and pre-commit hooks, split into words."""
    lines = [line for step in steps() for line in step.get("run", "").splitlines()]
    for repository in read(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local", "a hook from elsewhere has a version of its own"
        lines += [hook["entry"] for hook in repository["hooks"]]
    return [shlex.split(line) for line in lines]


def test_each_make_command_names_a_target_of_the_makefile() -> None:
    made = [words for words in commands() if words[0] == "make"]
    assert {words[1] for words in made} >= {"lint", "models", "test"}
    for words in made:
        assert words[1] in make_targets(), words


def test_each_command_is_make_docker_or_from_the_environment_of_make() -> None:
    for words in commands():
        assert words[0] in ("make", "docker", ".venv/bin/python"), words


def test_nothing_needs_root_or_the_projects_own_data() -> None:
    for words in commands():
        assert "sudo" not in words
        assert "apt-get" not in words
    for path in WORKFLOWS:
        text = path.read_text("utf-8")
        assert "shared" not in text
        assert "SFD_REQUIRE_ALL" not in text


def test_actions_are_pinned_by_major_version() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action), action


def test_every_supported_python_is_tested_on_linux_and_one_on_macos() -> None:
    matrix = read(ROOT / ".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert oldest
    tested = [int(version.removeprefix("3.")) for version in matrix["python"]]
    assert tested == list(range(int(oldest[1]), max(tested) + 1))
    assert matrix["os"] == ["ubuntu-latest"]
    assert [each["python"] for each in matrix["include"] if each["os"] == "macos-latest"] == [
        "3.13"
    ]


def test_the_cache_of_pip_follows_a_lock_that_exists() -> None:
    name = "cache-dependency-path"
    paths = [step["with"][name] for step in steps() if name in step.get("with", {})]
    assert paths
    for path in paths:
        assert (ROOT / path).is_file()


def test_the_version_of_pytorch_is_that_of_ci_run() -> None:
    texts = [path.read_text("utf-8") for path in (ROOT / ".ci" / "run", *WORKFLOWS)]
    versions = [re.findall(r"torch==([\d.]+)", text) for text in texts]
    assert versions[0]
    assert versions == [versions[0]] * len(versions)
