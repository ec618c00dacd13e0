"""The batcher agrees with its model in every step, and the model notices what could be wrong."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from detection import admission, batcher, overload
from tests.detection.batcher_machine import BatcherMachine

SHORT = settings(max_examples=150, stateful_step_count=40)
LONG = settings(max_examples=10_000, stateful_step_count=80)
SEARCH = settings(
    max_examples=20_000,
    stateful_step_count=50,
    phases=[Phase.generate],
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
"""To find a failure and not to simplify it. A mutant that is noticed ends its search early."""

SOURCES = [Path(str(module.__file__)) for module in (batcher, admission, overload)]
"""Where the mistakes are made."""
MUTANTS = {
    "a cancelled item stays in the queue": (
        "if future.cancelled() and self._withdraw(entry):",
        "if False:",
    ),
    "a cancelled item is removed, but nothing is decided": (
        "self._withdraw(entry):\n                self._decide()",
        "self._withdraw(entry):\n                pass",
    ),
    "an expired item stays in the queue": (
        "        if self._withdraw(entry):\n            self._decide()",
        "        pass",
    ),
    "the queue takes one more": (
        "depth + places > self.queue_limit",
        "depth + places > self.queue_limit + 1",
    ),
    "the queue takes one less": (
        "depth + places > self.queue_limit",
        "depth + places >= self.queue_limit",
    ),
    "a place that is given up is not returned": (
        "self._unused -= 1\n            self._batcher._expect(-1)",
        "self._unused -= 1",
    ),
    "unused places are not returned at the end": (
        "self._expect(-reservation._unused,",
        "self._expect(0,",
    ),
    "places that were not begun are kept at the end": (
        "later=-reservation._later",
        "later=0",
    ),
    "begin changes nothing": ("self._batcher._postpone(-1)", "self._batcher._postpone(0)"),
    "more places are taken without a check": (
        "batcher.admission.check_room(batcher.depth, places)\n",
        "\n",
    ),
    "more places are taken although they come too late": (
        "batcher.admission.check_deadline(others, self._unused + places, batcher._left(deadline))",
        "pass",
    ),
    "an idle batcher takes what comes too late": ("(not others and places == 1)", "(not others)"),
    "more places are taken but not counted": (
        "batcher._expect(places, later=places)",
        "batcher._expect(0, later=places)",
    ),
    "a batch is one too large": (
        "1 if call.alone else self.max_batch",
        "1 if call.alone else self.max_batch + 1",
    ),
    "the newest item goes first": ("waiting.popleft()", "waiting.pop()"),
    "a full batch waits for more": (
        "full = len(self._queue) - first >= self.max_batch",
        "full = False",
    ),
    "a batch waits for items that are not being prepared": (
        "self._coming > self._later",
        "self._coming > 0",
    ),
    "a batch never waits": ("or not self._expects()", "or True"),
    "no batch runs alone": ("return self.runs_alone and is_one", "return False and is_one"),
    "a batch runs alone although others wait": (
        "is_one = len(self._queue) == 1",
        "is_one = True",
    ),
    "a batch runs alone beside others": ("and is_one and not self._running", "and is_one"),
    "a batch runs alone although others are being prepared": (
        "not self._running and not self._expects()",
        "not self._running",
    ),
    "others run beside a batch that runs alone": ("< most and not self._alone:", "< most:"),
    "no batch runs after one that ran alone": ("self._alone = False", "pass"),
    "no timer wakes a batch that waited long enough": (
        "self._timer = self.clock.call_at(leaves_at, self._decide)\n",
        "",
    ),
    "the timer of a batch is not cancelled": ("            self._timer.cancel()\n", ""),
    "one batch too many in hand": (
        "else 2 * self.workers",
        "else 2 * self.workers + 1",
    ),
    "no batch in hand": ("else 2 * self.workers", "else self.workers"),
    "only one worker has a batch in hand": (
        "else 2 * self.workers",
        "else self.workers + 1",
    ),
    "batches are handed out while a failed one is tried again": (
        "self.workers if self._retrying else 2 * self.workers",
        "2 * self.workers",
    ),
    "a failed batch is tried again for ever": ("self._retrying -= 1", "pass"),
    "a call in hand counts after it began": ("self._in_hand -= 1\n", "pass\n"),
    "a call that was cancelled in hand still counts": (
        "self._in_hand -= call.retried is None",
        "pass",
    ),
    "a call that was cancelled in hand takes items": (
        "call.batch = []\n                self._in_hand",
        "self._in_hand",
    ),
    "the second call in hand is due with the first": (
        "first = self._in_hand * self.max_batch",
        "first = 0",
    ),
    "a call in hand takes what is not due": (
        "self._queue if self._queue and self._is_due() else deque()",
        "self._queue",
    ),
    "a call in hand takes only what the event loop saw waiting long enough": (
        "            or self.clock.stopwatch() >= oldest.started + self.max_wait\n",
        "",
    ),
    "the start is measured by the event loop": (
        "            batch = self._begin(call)\n            if len",
        "            batch = self._begin(call)\n"
        "            call.started = self.clock.stopwatch()\n            if len",
    ),
    "a freed worker takes nothing": (
        "        self._alone = False\n        self._decide()\n",
        "        self._alone = False\n",
    ),
    "a worker is never free again": ("self._running.discard(task)", "pass"),
    "an expired item is still inferred": ("entry.expires <= call.started", "False"),
    "an item that left is still tried again": ("elif not entry.is_gone", "else"),
    "an item in inference is not answered at its deadline": (
        "if not entry.future.done():\n            entry.future.set_exception(Timeout",
        "if entry in self._queue:\n            entry.future.set_exception(Timeout",
    ),
    "a timer is left behind": ("entry.expiry.cancel()", "pass"),
    "an item that left is answered": (
        "            if not entry.future.done():\n                queued",
        "            if True:\n                queued",
    ),
    "a failed batch is not tried again": ("len(call.batch) > 1", "False"),
    "the rest of a failed batch is not tried": (
        "await self._infer(Call(retried=entry))",
        "await self._infer(Call(retried=entry))\n                    return",
    ),
    "items of a cancelled worker get no answer": (
        'fail(call.batch or (), InferenceFailed("the inference was interrupted"))',
        "pass",
    ),
    "a failed item gets no answer": (
        "if len(batch) == 1:\n                fail",
        "if False:\n                fail",
    ),
    "too few results are no failure": ("if len(results) != len(batch):", "if False:"),
    "results go to the wrong items": ("zip(batch, results,", "zip(batch, results[::-1],"),
    "failed batches count as in inference for ever": (
        "self._inferring -= len(call.batch)",
        "pass",
    ),
    "draining still accepts": (
        'if self._draining:\n            raise Overloaded("the service is shutting down")',
        "",
    ),
    "drain forgets the running batches": (
        "not (self._queue or self._running or self._coming)",
        "not (self._queue or self._coming)",
    ),
    "drain forgets the items being prepared": (
        "not (self._queue or self._running or self._coming)",
        "not (self._queue or self._running)",
    ),
    "drain does not look whether it is done already": (
        "self._draining = True\n        self._decide()",
        "self._draining = True",
    ),
    "an idle batcher refuses by its prediction": (
        "if not others:",
        "if False:",
    ),
    "an idle batcher refuses a single item by its prediction": (
        "(not others and places == 1)",
        "False",
    ),
    "the wait forgets the items in inference": (
        "return self.depth + self._inferring",
        "return self.depth",
    ),
    "the wait counts items that are not begun": ("(self._later if at_once else 0)", "0"),
    "nobody waits for items that are not begun": (
        "(self._later if at_once else 0)",
        "self._later",
    ),
    "a refusal of what others do not wait for begins an overload": (
        "if may_begin and wait",
        "if wait",
    ),
    "a refusal starts no overload": ("self._has_begun = True", "pass"),
    "an overload is never over": (
        "if wait <= END * self.target_wait:",
        "if False:",
    ),
}


def run(of: type[BatcherMachine], how: settings) -> None:
    run_state_machine_as_test(of, settings=how)


def test_the_batcher_does_what_its_model_says() -> None:
    run(BatcherMachine, SHORT)


@pytest.mark.soak
def test_the_batcher_does_what_its_model_says_for_long() -> None:
    run(BatcherMachine, LONG)


@pytest.mark.parametrize("bug", MUTANTS)
def test_a_mutant_changes_one_place(bug: str) -> None:
    old, new = MUTANTS[bug]
    found = sum(path.read_text("utf-8").count(old) for path in SOURCES)
    assert found == 1, "the batcher was changed: adapt this mutant"
    assert old != new


@pytest.mark.soak
@pytest.mark.parametrize("bug", MUTANTS)
def test_the_model_notices(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = MUTANTS[bug]
    sources = {path: path.read_text("utf-8") for path in SOURCES}
    # The batcher last, because it imports the others.
    for path in reversed(SOURCES):
        name = f"detection.{path.stem}"
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(sources[path].replace(old, new), str(path), "exec"), module.__dict__)

    class Mutated(BatcherMachine):
        batcher_type = module.Batcher
        admission_type = module.Admission
        overload_type = sys.modules["detection.overload"].Overload

    with pytest.raises(AssertionError):
        run(Mutated, SEARCH)
