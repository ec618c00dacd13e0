import hashlib
import json
from dataclasses import replace

import pytest

from detection.bulk.plan import (
    ModelPlan,
    Options,
    Plan,
    SourcePlan,
    TableFile,
    check_same,
    read,
)
from sfd.errors import UsageError

PLAN = Plan(
    source=SourcePlan("folder", "/pictures", 10, "/pictures", "a" * 64),
    shard_size=4,
    model=ModelPlan("cells", "7", "b" * 64, 5000, 750, "c" * 64, "e" * 64),
    options=Options(0.5, 0.3, None, 0.0, False, 1000, 2000, False, "float32"),
)


def test_a_plan_is_read_as_it_was_written() -> None:
    tables = replace(PLAN.source, kind="bytes", column="image", files=(TableFile("/a", 10),))
    for plan in (PLAN, replace(PLAN, source=tables)):
        assert read(plan.to_json(), "DIR") == plan
        assert read(plan.to_json(), "DIR").id == plan.id


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"[" * 100_000, PLAN.to_json().replace(b'"format": 1', b'"format": 2')],
)
def test_another_file_is_no_plan(content: bytes) -> None:
    with pytest.raises(UsageError, match=r"plan\.json is broken or from another version of sfd"):
        read(content, "DIR")


def test_the_last_shard_may_be_smaller() -> None:
    assert [PLAN.pictures_in(shard) for shard in range(PLAN.shards)] == [4, 4, 2]


def test_the_same_plan_goes_on() -> None:
    check_same(PLAN, read(PLAN.to_json(), "DIR"), "DIR")


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (replace(PLAN, shard_size=5), "shard_size 4 before, 5 now"),
        (
            replace(PLAN, options=replace(PLAN.options, min_score=0.7, max_faces=3)),
            "min_score 0.5 before, 0.7 now; max_faces not set before, 3 now",
        ),
        (
            replace(PLAN, options=replace(PLAN.options, reduced_decoding="auto")),
            "SFD_REDUCED_DECODING false before, auto now",
        ),
        (
            replace(PLAN, model=replace(PLAN.model, sha256="d" * 64)),
            "model sha256 bbbbbbbbbbbb before, dddddddddddd now",
        ),
        (
            replace(PLAN, model=replace(PLAN.model, int8_sha256="d" * 64)),
            "model int8_sha256 cccccccccccc before, dddddddddddd now",
        ),
        (
            replace(PLAN, model=replace(PLAN.model, second_look_sha256=None)),
            "model second_look_sha256 eeeeeeeeeeee before, not set now",
        ),
        (
            replace(PLAN, source=replace(PLAN.source, pictures=11, fingerprint="c" * 64)),
            "source pictures 10 before, 11 now: .*--keep-listing goes on",
        ),
        (
            replace(PLAN, source=replace(PLAN.source, fingerprint="c" * 64)),
            "other pictures in the source now: .*--keep-listing goes on",
        ),
        (
            replace(PLAN, source=replace(PLAN.source, name="/others")),
            "source name /pictures before, /others now",
        ),
    ],
)
def test_another_plan_is_refused_with_what_changed(now: Plan, says: str) -> None:
    assert now.id != PLAN.id
    with pytest.raises(UsageError, match=says) as refused:
        check_same(PLAN, now, "DIR")
    assert "choose another --out" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_plan_from_before_these_files_were_written_down_goes_on_under_its_id() -> None:
    first = json.loads(PLAN.to_json())
    del first["model"]["int8_sha256"], first["model"]["second_look_sha256"]
    before = read(json.dumps(first).encode(), "DIR")
    check_same(before, PLAN, "DIR")
    assert before.id == hashlib.sha256(json.dumps(first, sort_keys=True).encode()).hexdigest()
