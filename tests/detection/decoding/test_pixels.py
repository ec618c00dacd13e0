"""The memory that workers write pixels into."""

import gc
import mmap

import numpy as np
import pytest

from detection.decoding.pixels import PixelMemory, write

SHAPE = (4, 5, 3)


def memory(count: int = 4, spare: int = 2) -> PixelMemory:
    return PixelMemory(60, count, spare)


def test_a_picture_is_what_another_mapping_of_the_file_wrote() -> None:
    shared = memory()
    elsewhere = mmap.mmap(shared.descriptor, 0)
    written = np.arange(60, dtype=np.uint8).reshape(SHAPE)
    first, second = shared.take(2)
    write(elsewhere, second * shared.slot_bytes, written)
    assert np.array_equal(shared.picture(second, SHAPE), written)
    assert not shared.picture(first, SHAPE).any()
    shared.close()


def test_a_slot_is_taken_once_until_it_is_given_back() -> None:
    shared = memory(count=4, spare=2)
    slots = shared.take(4)
    assert len({*slots, *shared.take(2)}) == 6
    with pytest.raises(IndexError):
        shared.take(1)
    shared.give_back(slots)
    assert set(shared.take(4)) == set(slots)


def test_a_slot_is_free_when_the_last_array_made_from_its_picture_is_gone() -> None:
    shared = memory(count=6, spare=0)
    (slot,) = shared.take(1)
    picture = shared.picture(slot, SHAPE)
    part = picture[None][0, 1:, :2]
    del picture
    gc.collect()
    others = shared.take(5)
    with pytest.raises(IndexError):
        shared.take(1)
    del part
    gc.collect()
    assert not {*others} & {*shared.take(1)}


def test_when_few_slots_are_left_pictures_are_copied() -> None:
    shared = memory(count=1, spare=2)
    (slot,) = shared.take(1)
    in_place = shared.picture(slot, SHAPE)
    (slot,) = shared.take(1)
    copied = shared.picture(slot, SHAPE)
    assert in_place.base is not None
    assert copied.base is None
    assert len(shared.take(2)) == 2


def test_free_slots_beyond_the_first_few_give_their_memory_back() -> None:
    shared = memory(count=PixelMemory.KEPT + 4, spare=0)
    slots = shared.take(PixelMemory.KEPT + 4)
    elsewhere = mmap.mmap(shared.descriptor, 0)
    for slot in slots:
        write(elsewhere, slot * shared.slot_bytes, np.full(SHAPE, 7, np.uint8))
    shared.give_back(slots)
    kept = [bool(elsewhere[slot * shared.slot_bytes]) for slot in sorted(slots)]
    assert kept == [True] * PixelMemory.KEPT + [False] * 4
