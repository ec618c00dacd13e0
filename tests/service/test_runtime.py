"""What models that share a process share, and what they do not."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.letterboxing import Pixels
from service.network import Candidates, Network


def test_a_busy_model_never_holds_back_another(
    serve: Any, bright_cells: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()
    run = Network.run

    def slow(self: Network, items: Sequence[Pixels]) -> Sequence[Candidates]:
        if self.model.name == "cells":
            began.set()
            assert go_on.wait(20)
        return run(self, items)

    with serve(models=("cells", "others"), workers=1) as client, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(Network, "run", slow)
        busy = pool.submit(client.post, "/detect?model=cells", content=bright_cells(1))
        assert began.wait(20)
        try:
            other = client.post("/detect?model=others", content=bright_cells(2, 3))
        finally:
            go_on.set()
        assert other.status_code == 200
        assert len(other.json()["faces"]) == 2
        assert busy.result(20).status_code == 200


def test_what_expires_behind_a_busy_model_is_never_inferred(
    serve: Any, bright_cells: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()
    run, inferred = Network.run, []

    def slow(self: Network, items: Sequence[Pixels]) -> Sequence[Candidates]:
        inferred.append((self.model.name, len(items)))
        if self.model.name == "cells":
            began.set()
            assert go_on.wait(20)
        return run(self, items)

    options = {"models": ("cells", "others"), "workers": 1, "request_timeout_s": 0.5}
    with serve(**options) as client, ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(Network, "run", slow)
        first = pool.submit(client.post, "/detect?model=cells", content=bright_cells(1))
        assert began.wait(20)
        try:
            assert client.post("/detect?model=cells", content=bright_cells(1)).status_code == 504
        finally:
            go_on.set()
        first.result(20)
        assert client.post("/detect?model=others", content=bright_cells(4)).status_code == 200
    assert inferred == [("cells", 1), ("others", 1)]
