"""What a worker may send, also one that a hostile file has taken over."""

import json
from multiprocessing import Pipe
from typing import Any

import pytest

from detection.decoding import messages
from detection.decoding.messages import DecodingBug, MalformedReply, Reply
from detection.errors import InvalidImage

TILES = {"tiles": [[0, 0, 8, 4]], "placements": [[8, 4, 64, 64, 64, 32, 0, 16]]}


def received(content: bytes, most_files: int = 1) -> Reply:
    here, there = Pipe()
    with here, there:
        there.send_bytes(content)
        there.send_bytes(b"a file")
        return messages.receive_reply(here, most_files)


def test_a_reply_arrives_with_its_files() -> None:
    here, there = Pipe()
    with here, there:
        messages.send_reply(there, {"reusable": True}, [b"one", b""])
        reply = messages.receive_reply(here, 2)
    assert reply.files == [b"one", b""]
    assert reply.is_reusable


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[1]", b"{}", b'{"files": -1}', b'{"files": 2}', b'{"files": "x"}',
     b'{"files": null}', b"[" * 100_000],
)  # fmt: skip
def test_a_malformed_reply_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedReply):
        received(content)


def test_a_head_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "LONGEST_HEAD", 100)
    with pytest.raises(OSError, match="bad message length"):
        received(b" " * 101)


@pytest.mark.parametrize(
    "change",
    [{"tiles": []}, {"tiles": [[0, 0, 8, 4]] * 3}, {"tiles": "abcd"}, {"tiles": [[0, 0, 8, 4.5]]},
     {"tiles": [[0, 0, 8, None]]}, {"placements": [[1, 2]]}, {"placements": []}],
)  # fmt: skip
def test_malformed_tiles_are_refused(change: dict[str, Any]) -> None:
    reply = received(json.dumps({"files": 0, **TILES, **change}).encode())
    with pytest.raises((MalformedReply, TypeError)):
        reply.placements(2)


def test_the_tiles_of_a_reply_are_read() -> None:
    reply = received(json.dumps({"files": 0, **TILES}).encode())
    tiles, placements = reply.placements(1)
    assert (tiles[0].width, placements[0].top) == (8, 16)


def test_a_workers_error_is_raised_again() -> None:
    with pytest.raises(InvalidImage, match="it is broken"):
        Reply({"error": "invalid-image", "detail": "it is broken"}, []).check()
    with pytest.raises(DecodingBug, match="Traceback"):
        Reply({"bug": "Traceback"}, []).check()
    Reply({}, []).check()
