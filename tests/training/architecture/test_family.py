"""Architectures are composed of stages."""

from training.architecture.family import Block, stage


def test_a_stage_strides_and_expands_by_its_entry_only_in_its_first_block() -> None:
    assert stage(8, 3, stride=2, expansion=2, entry=4) == (
        Block(8, 2, 4),
        Block(8, 1, 2),
        Block(8, 1, 2),
    )
