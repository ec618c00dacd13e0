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
