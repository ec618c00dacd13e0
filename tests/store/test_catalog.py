from pathlib import Path

import pytest

from sfd.files import sha256
from store import catalog
from store.model import ModelError

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "model_store/catalog.toml"


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = COMMITTED.read_text("utf-8")
    assert old in text
    path = tmp_path / "catalog.toml"
    path.write_text(text.replace(old, new), "utf-8")
    return path


def test_the_committed_catalog_names_the_published_detectors() -> None:
    entries = catalog.load(COMMITTED)
    assert set(entries) == {
        "sfd-320-mod5-nobn",
        "sfd-320-mod5-bn",
        "sfd-320-mod11l",
        "sfd-320-mod11e",
        "sfd-320-mod11g",
    }
    assert all(entry.licence == "MIT" for entry in entries.values())
    assert all(
        source.url.startswith("https://raw.githubusercontent.com/bonseyes/SFD/a64a1f41")
        for entry in entries.values()
        for source in entry.sources.values()
    )


def test_sizes_and_hashes_are_those_of_the_published_files(shared: Path) -> None:
    for name, entry in catalog.load(COMMITTED).items():
        for source in entry.sources.values():
            path = shared / "models/upstream" / name / source.file
            assert source.size == path.stat().st_size
            assert source.sha256 == sha256(path)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "ftp://example.com/x",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "https:///x",
        "/x",
        "",
        "http://127.0.0.1.example.com/x",
        "http://localhost@example.com/x",
    ],
)
def test_only_https_addresses_are_allowed(url: str) -> None:
    with pytest.raises(ValueError, match="is not an https address"):
        catalog.allowed(url)


@pytest.mark.parametrize(
    "url",
    ["https://example.com/x", "http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]:9/x"],
)
def test_plain_http_is_for_this_machine_only(url: str) -> None:
    assert catalog.allowed(url) == url


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("size = 36637", "size = 0", "sfd-320-mod5-nobn.sources.deploy.size: "),
        ("size = 36637", "size = 99999999999", "sfd-320-mod5-nobn.sources.deploy.size: "),
        ("size = 36637", "", "sfd-320-mod5-nobn.sources.deploy.size: "),
        ('"https://raw', '"http://raw', "is not an https address"),
        ('"deploy.prototxt"', '"../x"', "sfd-320-mod5-nobn.sources.deploy.file: "),
        ("[sfd-320-mod11g]", '["../mod11g"]', "../mod11g"),
        ("[sfd-320-mod11g]", '[sfd-320-mod11g]\nname = "else"', "remove this key"),
    ],
)
def test_a_wrong_entry_is_refused_with_file_and_key(
    tmp_path: Path, old: str, new: str, key: str
) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(ModelError) as raised:
        catalog.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert key in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["x =", "x = 1", "x = " + "[" * 9000])
def test_a_file_that_is_not_a_catalog_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ModelError, match=r"catalog\.toml: "):
        catalog.load(path)


def test_the_error_for_a_missing_catalog_explains_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"catalog\.toml: cannot be read: No such file"):
        catalog.load(tmp_path / "catalog.toml")


def test_a_store_has_its_own_catalog_or_the_one_of_sfd(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.parent.parent)
    monkeypatch.setenv("SFD_MODEL_STORE", "/nowhere")
    assert catalog.default_catalog(store) == COMMITTED
    (store / "catalog.toml").touch()
    assert catalog.default_catalog(store) == store / "catalog.toml"
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    assert catalog.default_catalog() == store / "catalog.toml"
