from pathlib import Path

import platformdirs
import pytest

from store import places
from store.model import ModelError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no store in the environment."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SFD_MODEL_STORE", raising=False)
    return folder


@pytest.fixture
def installed(here: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """As in an installed package: the user's store, not yet existing, and the packaged one."""
    user, packaged = here.parent / "data/models", here.parent / "packaged"
    monkeypatch.setattr(places, "CHECKOUT", None)
    monkeypatch.setattr(places, "PACKAGED", packaged)
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: here.parent / "data")
    model(packaged, "ours")
    return user, packaged


def model(store: Path, name: str) -> Path:
    folder = store / name
    folder.mkdir(parents=True)
    (folder / "model.toml").touch()
    return folder


def test_a_checkout_has_one_store_chosen_by_argument_setting_and_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert places.stores() == (ROOT / "model_store",)
    (here / "model_store").mkdir()
    assert places.stores() == (Path("model_store"),)
    monkeypatch.setenv("SFD_MODEL_STORE", "/models")
    assert places.stores() == (Path("/models"),)
    assert places.stores(Path("/mine")) == (Path("/mine"),)


def test_an_installed_sfd_searches_the_users_models_and_its_own(
    here: Path, installed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert places.stores() == installed
    (here / "model_store").mkdir()
    assert places.stores() == (Path("model_store"), *installed)
    monkeypatch.setenv("SFD_MODEL_STORE", "/models")
    assert places.stores() == (Path("/models"),)


def test_of_two_models_with_one_name_the_first_stores_is_used(
    installed: tuple[Path, Path],
) -> None:
    user, packaged = installed
    assert places.installed() == (packaged / "ours",)
    assert places.locate("ours") == packaged / "ours"
    mine = model(user, "mine")
    assert places.installed() == (mine, packaged / "ours")
    ours = model(user, "ours")
    assert places.installed() == (mine, ours)
    assert places.locate("ours") == ours


def test_the_error_for_an_unknown_model_lists_the_stores(installed: tuple[Path, Path]) -> None:
    user, packaged = installed
    with pytest.raises(ModelError, match=f"no model 'x' in {user} or {packaged} "):
        places.locate("x")
    with pytest.raises(ModelError, match=r"'\.\./ours' is not a model name"):
        places.locate("../ours")


def test_the_only_store_must_exist(here: Path) -> None:
    with pytest.raises(ModelError, match="the model store /nowhere does not exist"):
        places.installed(Path("/nowhere"))


def test_a_new_model_goes_into_the_first_store_and_hides_no_other(
    installed: tuple[Path, Path],
) -> None:
    user, packaged = installed
    assert places.store_for("mine") == user
    with pytest.raises(ModelError, match=f"{packaged}/ours exists already; choose another name"):
        places.store_for("ours")
    assert places.store_for("ours", Path("/chosen")) == Path("/chosen")
