"""The client's address in the log, over a socket."""

import json
from typing import Any

import httpx
import pytest

from service import proxies
from service.access import ip_address


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%" + "x" * 50_000, "fe80::1"),
        ("9" * 50_000, ""),
        ("a:" * 25_000, ""),
        ("unknown", ""),
        ("", ""),
    ],
)
def test_only_an_ip_address_is_a_clients_address(text: str, logged: str) -> None:
    assert ip_address(text) == logged


def client_of(server: Any, said: str) -> str:
    httpx.get(f"{server.url}/models", headers={"X-Forwarded-For": said})
    line = server.complete_log().splitlines()[-1]
    assert len(line) < 1000
    return str(json.loads(line)["client"])


def test_a_proxy_on_this_machine_says_who_the_client_is(hardened: Any) -> None:
    assert client_of(hardened, "192.0.2.7") == "192.0.2.7"
    assert client_of(hardened, "10.9.8.7, 192.0.2.7") == "192.0.2.7"


def test_what_is_no_address_is_not_logged(hardened: Any) -> None:
    assert client_of(hardened, "x" * 50_000) == ""
    assert client_of(hardened, "fe80::1%" + "x" * 50_000) == "fe80::1"


def test_another_proxy_is_believed_only_if_it_is_named(
    start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8, nginx")
    with start_server() as server:
        assert client_of(server, "192.0.2.7") == "127.0.0.1"
        assert (
            "FORWARDED_ALLOW_IPS: nginx is ignored: it is neither an address"
            in server.complete_log()
        )


@pytest.mark.parametrize(
    ("given", "ignored"),
    [
        ("", []),
        ("*", []),
        ("127.0.0.1, 10.0.0.0/8,::1", []),
        ("10.0.0.7/8,nginx", ["10.0.0.7/8", "nginx"]),
        ("*,127.0.0.1", ["*"]),
    ],
)
def test_what_uvicorn_ignores_is_known(
    given: str, ignored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(proxies.VARIABLE, given)
    assert proxies.unknown() == ignored
