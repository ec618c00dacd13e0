"""`sfd serve --ray` without Ray: what the command itself does."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from unittest.mock import MagicMock

import pytest

from service.cluster import local, refusals
from service.settings import Settings
from tests.monitors import free_port


@pytest.fixture
def own_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Takes back what the command does to this process."""
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv(refusals.VARIABLE, "")
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_a_closed_terminal_ends_it_in_order(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def blocked(*_: object, **__: object) -> None:
        # Ray's processes, which are started now and inherit it, must not end before the command.
        assert signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ())

    ray = MagicMock()
    ray.init.side_effect = blocked
    ray.serve.run.side_effect = lambda _: os.kill(os.getpid(), signal.SIGHUP)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "service.ray_serve", MagicMock())
    local.run(settings(port=free_port()), 1)
    ray.serve.shutdown.assert_called_once()
    ray.shutdown.assert_called_once()
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.usefixtures("own_signals")
def test_under_nohup_a_closed_terminal_ends_nothing(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ray = MagicMock()
    ray.serve.run.side_effect = lambda _: os.kill(os.getpid(), signal.SIGTERM)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "service.ray_serve", MagicMock())
    local.run(settings(port=free_port()), 1)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
