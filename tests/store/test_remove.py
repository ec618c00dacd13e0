"""`sfd models remove`."""

from pathlib import Path

import pytest

from sfd.cli import main
from store import remove as removing
from store.model import Model, ModelError
from store.remove import remove

ROOT = Path(__file__).parents[2]
CATALOG = str(ROOT / "model_store/catalog.toml")


@pytest.fixture(autouse=True)
def _chosen(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))


def test_a_removed_model_is_gone_and_its_name_is_free(
    built: Model, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "remove", "tiny"]) == 0
    assert capsys.readouterr().out == f"tiny: removed {store / 'tiny'}\n"
    assert list(store.iterdir()) == []


def test_an_unknown_name_stops_the_command_before_anything_is_removed(
    built: Model, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "remove", "tiny", "tinny"]) == 1
    assert "no model 'tinny'" in capsys.readouterr().err
    assert (store / "tiny" / "model.onnx").is_file()


def test_a_name_given_twice_is_removed_once(built: Model) -> None:
    assert main(["models", "remove", "tiny", "tiny"]) == 0


def test_a_model_that_came_with_sfd_stays(
    built: Model, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removing, "PACKAGED", store)
    with pytest.raises(ModelError, match="came with sfd"):
        remove("tiny")
    assert built.onnx.is_file()


def test_a_link_is_not_followed(built: Model, store: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    built.folder.rename(elsewhere)
    built.folder.symlink_to(elsewhere)
    with pytest.raises(ModelError, match="delete the link itself"):
        remove("tiny")
    assert (elsewhere / "model.onnx").is_file()


def test_the_rest_of_an_interrupted_deletion_is_not_a_model(
    built: Model, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(removing, "rmtree", full)
    assert main(["models", "remove", "tiny"]) == 1
    assert "cannot be removed: Input/output error" in capsys.readouterr().err
    assert main(["models", "list"]) == 0
    assert "tiny" not in capsys.readouterr().out


@pytest.mark.parametrize("action", ["verify", "build"])
def test_a_model_of_the_catalog_says_how_to_get_it(
    action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", action, "sfd-320-mod11l", "--catalog", CATALOG]) == 1
    assert capsys.readouterr().err == (
        "sfd models: sfd-320-mod11l is not in the store; "
        "`sfd models pull sfd-320-mod11l` downloads it\n"
    )
