import os
from types import SimpleNamespace

import pytest

from detection.cpu import available_cpus
from detection.errors import StartError
from detection.settings import DEFAULT_MODEL
from service import settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SFD_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("SFD_PORT", "9000", "port", 9000),
        ("SFD_GRPC_PORT", "8001", "grpc_port", 8001),
        ("SFD_GRPC_PORT", "", "grpc_port", None),
        ("SFD_LOG_LEVEL", "Warning", "log_level", "warning"),
        ("SFD_MAX_BYTES", "20MB", "max_bytes", 20_000_000),
        ("SFD_MAX_BYTES", "1.5 MiB", "max_bytes", 3 * 2**19),
        ("SFD_MAX_BYTES", "2048", "max_bytes", 2048),
        ("SFD_CORS_ORIGINS", "https://a.org,*", "cors_origins", ("https://a.org", "*")),
        ("SFD_CORS_ORIGINS", "HTTPS://A.org", "cors_origins", ("https://a.org",)),
        (
            "SFD_CORS_ORIGINS",
            "https://a.org:443,http://a.org:80",
            "cors_origins",
            ("https://a.org", "http://a.org"),
        ),
        (
            "SFD_CORS_ORIGINS",
            "http://localhost:3000,http://[::1]:8080",
            "cors_origins",
            ("http://localhost:3000", "http://[::1]:8080"),
        ),
        ("SFD_COMPAT", "DeepStack, compreface", "compat", ("deepstack", "compreface")),
        (
            "SFD_FETCH_HOSTS",
            "A.org,b.org:81,*.c.org",
            "fetch_hosts",
            ("a.org", "b.org:81", "*.c.org"),
        ),
        ("SFD_FETCH_HOSTS", "127.0.0.1:8080", "fetch_hosts", ("127.0.0.1:8080",)),
        ("SFD_FETCH_PRIVATE", "true", "fetch_private", True),
    ],
)
def test_a_variable_sets_its_field(
    variable: str, text: str, field: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(settings.load(), field) == value


def test_a_short_queue_lowers_the_default_limit_of_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SFD_QUEUE_LIMIT", "16")
    loaded = settings.load()
    assert (loaded.queue_limit, loaded.max_images) == (16, 16)


def test_the_defaults_are_the_documented_ones() -> None:
    loaded = settings.load()
    assert loaded.max_bytes == 20 * 2**20
    assert loaded.max_pixels == 50_000_000
    assert loaded.max_images == 32
    assert loaded.threads == available_cpus()
    assert loaded.served_models == (DEFAULT_MODEL,)


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("SFD_PORT", "http", "SFD_PORT: must be a whole number from 0 to 65535, not 'http'"),
        (
            "SFD_GRPC_PORT",
            "tcp://10.0.0.1:80",
            "SFD_GRPC_PORT: must be a whole number from 0 to 65535, not 'tcp://10.0.0.1:80'",
        ),
        ("SFD_GRPC_PORT", "8000", "SFD_GRPC_PORT: must not be SFD_PORT"),
        ("SFD_PORT", "65536", "SFD_PORT: must be a whole number from 0 to 65535, not '65536'"),
        ("SFD_REQUEST_TIMEOUT_S", "0", "SFD_REQUEST_TIMEOUT_S: must be a number above 0 up to"),
        (
            "SFD_CORS_ORIGINS",
            "example.org",
            "must be origins separated by commas: SCHEME://HOST or ",
        ),
        (
            "SFD_CORS_ORIGINS",
            "https://a.org/",
            "without a path, or *, not 'https://a.org/'",
        ),
        ("SFD_CORS_ORIGINS", "https://*.a.org", "must be origins separated by commas"),
        ("SFD_CORS_ORIGINS", "https://a.org:99999", "must be origins separated by commas"),
        ("SFD_CORS_ORIGINS", "https://b\u00fccher.de", "must be origins separated by commas"),
        (
            "SFD_MAX_BYTES",
            "20 MO",
            "SFD_MAX_BYTES: must be a number of bytes from 1 to 2147483648, such as",
        ),
        ("SFD_MAX_BYTES", "3GiB", "such as 20MB or 20MiB, not '3GiB'"),
        ("SFD_MAX_BYTES", "0.3", "must be a number of bytes"),
        ("SFD_MAX_BYTES", "-1MB", "must be a number of bytes"),
        (
            "SFD_COMPAT",
            "rekognition",
            "SFD_COMPAT: must be any of deepstack, compreface, separated by commas",
        ),
        ("SFD_FETCH_PRIVATE", "perhaps", "SFD_FETCH_PRIVATE: must be true | false, not 'perhaps'"),
        ("SFD_FETCH_HOSTS", "*", "SFD_FETCH_HOSTS: must be host names separated by commas"),
        ("SFD_FETCH_HOSTS", "*.org", "SFD_FETCH_HOSTS: must be host names separated by commas"),
        (
            "SFD_FETCH_HOSTS",
            "https://a.org",
            "SFD_FETCH_HOSTS: must be host names separated by commas",
        ),
        ("SFD_FETCH_HOSTS", "a.org/x", "SFD_FETCH_HOSTS: must be host names separated by commas"),
        ("SFD_FETCH_HOSTS", "a.*.org", "SFD_FETCH_HOSTS: must be host names separated by commas"),
        ("SFD_FETCH_HOSTS", "a.org:0", "SFD_FETCH_HOSTS: must be host names separated by commas"),
        (
            "SFD_FETCH_HOSTS",
            "a.org:65536",
            "HOST, HOST:PORT, *.HOST or *.HOST:PORT, not 'a.org:65536'",
        ),
        ("SFD_FETCH_HOSTS", "[::1]", "SFD_FETCH_HOSTS: must be host names separated by commas"),
        ("SFD_FETCH_HOSTS", "a b.org", "SFD_FETCH_HOSTS: must be host names separated by commas"),
        (
            "SFD_MAX_IMAGES",
            "200",
            "SFD_MAX_IMAGES: must not be more than SFD_QUEUE_LIMIT, which is 128",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_the_variable_and_what_it_accepts(
    variable: str, text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(StartError) as caught:
        settings.load()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFD_PORT", "x")
    monkeypatch.setenv("SFD_THREADS", "0")
    with pytest.raises(StartError, match=r"SFD_THREADS: .*; SFD_PORT: "):
        settings.load()


def test_a_wrong_api_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFD_API_KEYS", "secret1,a-good-long-key")
    with pytest.raises(StartError) as caught:
        settings.load()
    assert "SFD_API_KEYS" in str(caught.value)
    assert "secret1" not in str(caught.value)
    monkeypatch.setenv("SFD_API_KEYS", "a-good-long-key")
    assert "a-good-long-key" not in repr(settings.load())


@pytest.mark.parametrize("keys", [",", " , ", "a-good-long-key,schlüssel-123"])
def test_api_keys_that_would_not_protect_or_never_match_are_refused(
    monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    monkeypatch.setenv("SFD_API_KEYS", keys)
    with pytest.raises(StartError) as caught:
        settings.load()
    expected = "SFD_API_KEYS: must be keys of at least 8 printable ASCII characters, separated by"
    assert str(caught.value) == f"{expected} commas"


def test_no_api_keys_leave_the_service_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFD_API_KEYS", "")
    assert settings.load().api_keys == ()


def test_every_setting_has_a_description_and_says_what_it_accepts() -> None:
    described = settings.describe()
    assert len(described) == len(settings.Settings.model_fields)
    for variable, accepted, text in described:
        assert variable.startswith("SFD_")
        assert accepted
        assert text.endswith(".")


@pytest.mark.parametrize(("terminal", "expected"), [(True, "console"), (False, "json")])
def test_logs_are_for_people_if_stderr_is_a_terminal(
    terminal: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: terminal))
    assert settings.load().log_format == expected
    assert settings.load(log_format="json").log_format == "json"
