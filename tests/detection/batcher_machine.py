"""A model of the batcher, and a Hypothesis state machine that compares the batcher with it.

The machine does what requests, the model and the process can do: reserve, extend, begin, submit,
give up, leave, finish or break a batch, cancel a worker, let time pass, drain. Beside the batcher
it keeps a plain model: the items that wait, the batches that run, and the outcome of each item.
After each step every task runs until it waits, and the two must agree. The threads of inference do
not wait for the event loop: one that ends a batch begins the next one at once, if one is due.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from detection import overload
from detection.admission import Admission
from detection.batch import Answer
from detection.batcher import Batcher
from detection.errors import InferenceFailed, Overloaded, Timeout
from tests.detection.batcher_model import Item, Request, Work
from tests.detection.batching import NEVER, FakeCall, FakeClock, FakeThreads, settle

pick = st.integers(0, 9)
"""Chooses one of a list: its remainder by the list's length."""
seconds = st.sampled_from([0.0, 0.25, 0.5, 1.0, 4.0])
"""Fractions that floating point adds exactly."""


class BatcherMachine(RuleBasedStateMachine):
    """See the module."""

    batcher_type: type[Batcher[int, int]] = Batcher
    admission_type: type[Admission] = Admission
    overload_type: type[overload.Overload] = overload.Overload

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.problems: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(str(context)))
        self.clock = FakeClock()
        self.requests: list[Request] = []
        self.items: list[Item] = []
        self.waiting: list[Item] = []
        self.working: list[Work] = []
        self.retrying: list[Work] = []
        self.drains: list[asyncio.Task[None]] = []
        self.sizes: list[int] = []
        self.failures: list[Exception] = []
        self.calls = self.failed_calls = 0
        self.was_retrying, self.were_in_hand, self.were_gone = False, 0, 0
        self.two_things_happen = False
        """Whether the step is one of several things in one turn of the event loop."""

    @initialize(
        max_batch=st.integers(1, 4),
        max_wait=st.sampled_from([0.0, 0.5, 2.0]),
        queue_limit=st.integers(1, 8),
        workers=st.integers(1, 3),
        runs_alone=st.booleans(),
        target_wait=st.sampled_from([math.inf, 2.0, 1.25]),
        # With 1.25 and 0.25, an overload begins with six items and ends with one.
        image_seconds=st.sampled_from([0.0, 0.25, 0.5]),
    )
    def make(self, **options: Any) -> None:
        self.target_wait: float = options.pop("target_wait")
        self.threads = FakeThreads(options["workers"], self.begin_call)
        self.queue_limit: int = options.pop("queue_limit")
        admission = self.admission_type(
            self.queue_limit, self.overload_type(self.target_wait), options.pop("image_seconds")
        )
        self.batcher = self.batcher_type(
            infer=self.threads.submit,
            clock=self.clock,
            on_batch=self.sizes.append,
            on_failure=self.failures.append,
            admission=admission,
            **options,
        )
        self.max_batch: int = options["max_batch"]
        self.max_wait: float = options["max_wait"]
        self.workers: int = options["workers"]
        self.runs_alone: bool = options["runs_alone"]
        self.is_overloaded = False

    # --- the model

    @property
    def coming(self) -> int:
        return sum(request.unused for request in self.requests)

    @property
    def depth(self) -> int:
        return self.coming + len(self.waiting)

    @property
    def inferring(self) -> int:
        return sum(len(work.call) for work in self.working)

    def is_due(self, batches: int = 0) -> bool:
        """Whether a worker must take a batch of the waiting items now, after some batches."""
        waiting = self.waiting[batches * self.max_batch :]
        return bool(waiting) and (
            len(waiting) >= self.max_batch
            or all(request.begun == 0 for request in self.requests)
            or self.clock.now >= waiting[0].submitted + self.max_wait
        )

    @property
    def is_retrying(self) -> bool:
        """Whether items of a failed batch are tried alone."""
        return bool(self.retrying) or any(work.call is not work.batch for work in self.working)

    @property
    def in_hand(self) -> list[FakeCall]:
        """The calls in hand that will take waiting items."""
        retried = [work.running.worker for work in self.retrying]
        return [
            call
            for call in self.threads.in_hand
            if call.worker not in retried and not call.results.cancelled()
        ]

    @property
    def is_alone(self) -> bool:
        """Whether a batch runs alone."""
        return any(work.running.alone for work in self.working)

    def must_run_alone(self) -> bool:
        """Whether the next item is the only one."""
        return (
            self.runs_alone
            and not (self.working or self.retrying)
            and all(request.begun == 0 for request in self.requests)
            and len(self.waiting) == 1
        )

    @property
    def later(self) -> int:
        """Items that are not begun: others don't wait for them."""
        return sum(request.later for request in self.requests)

    def is_refused(self, places: int, at_once: bool, deadline: float) -> bool:
        if self.drains or self.depth + places > self.queue_limit:
            return True
        busy = self.depth + self.inferring - (self.later if at_once else 0)
        wait = busy * self.batcher.admission.image_seconds
        if wait > self.target_wait and busy:
            self.is_overloaded |= at_once
        elif wait <= overload.END * self.target_wait or not busy:
            self.is_overloaded = False
        longest = overload.LIMIT * self.target_wait if self.is_overloaded else self.target_wait
        return (busy > 0 and wait > longest) or self.is_late(busy, places, deadline)

    def is_late(self, others: int, places: int, deadline: float) -> bool:
        """Whether so many items would miss the deadline of their request."""
        if not others:
            least = self.batcher.admission.least_seconds
            return places > 1 and self.clock.now + places * least > deadline
        return self.clock.now + (others + places) * self.batcher.admission.image_seconds > deadline

    def expire(self) -> None:
        """Every item that waits or is in inference ends at its deadline."""
        for item in self.items:
            if item.outcome is None and item.deadline <= self.clock.now:
                item.outcome = Timeout
        self.waiting = [item for item in self.waiting if item.outcome is None]

    def begin_call(self, call: FakeCall) -> None:
        """A thread has begun a call of inference."""
        self.calls += 1
        for retried in self.retrying:
            if retried.running.worker is call.worker:
                self.retry(retried, call)
                return
        due, alone = self.is_due(), not call.waited and self.must_run_alone()
        self.expire()
        batch = self.waiting[: 1 if call.alone else self.max_batch]
        assert list(call.items) == [item.number for item in batch], "not the oldest items in order"
        assert due, "a batch left too early"
        # It is decided before the call begins, so what happens in between comes too late.
        if not self.two_things_happen:
            assert call.alone == alone, "a batch runs alone although others are there, or not alone"
        assert not self.is_alone, "a batch begins beside one that runs alone"
        del self.waiting[: len(batch)]
        self.working.append(Work(call, batch, batch, self.clock.now))

    def retry(self, retried: Work, call: FakeCall) -> None:
        """An item of a failed batch is tried alone."""
        self.expire()
        untried = [item for item in retried.untried if item.outcome is None]
        assert list(call.items) == [untried[0].number], "an item of a failed batch is skipped"
        retried.call, retried.untried = untried[:1], untried[1:]
        retried.started, retried.running = self.clock.now, call
        self.working.append(retried)
        self.retrying.remove(retried)

    # --- what requests do

    def run(self, step: Callable[[], object] = lambda: None) -> None:
        """Run a step in the event loop, then every task until it waits."""

        async def then_settle() -> None:
            try:
                result = step()
                if isinstance(result, Coroutine):
                    await result
            finally:
                await settle()

        self.loop.run_until_complete(then_settle())

    def one(self, of: list[Any], which: int) -> Any:
        return of[which % len(of)]

    @rule(
        places=st.integers(0, 4),
        at_once=st.booleans(),
        within=st.sampled_from([0.25, 1.0, math.inf]),
    )
    def reserve(self, places: int, at_once: bool, within: float) -> None:
        deadline = self.clock.now + within
        refused = self.is_refused(places, at_once, deadline)
        context = self.batcher.reserve(places, at_once=at_once, deadline=deadline)
        try:
            self.run(lambda: self.batcher.check_room(places, deadline, at_once=at_once))
            # Nothing is sent by a reservation: no event loop is needed.
            reservation = context.__enter__()
        except Overloaded:
            assert refused, "refused although there is room"
            return
        assert not refused, "accepted although there is no room"
        later = 0 if at_once else places
        self.requests.append(Request(context, reservation, places, later))
        self.run()

    @precondition(lambda self: any(request.later for request in self.requests))
    @rule(which=pick)
    def begin(self, which: int) -> None:
        request = self.one([each for each in self.requests if each.later], which)
        request.later -= 1
        self.run(request.reservation.begin)

    @precondition(lambda self: any(request.begun for request in self.requests))
    @rule(which=pick, places=st.integers(0, 4), within=st.sampled_from([1.0, math.inf, math.inf]))
    def extend(self, which: int, places: int, within: float) -> None:
        request = self.one([each for each in self.requests if each.begun], which)
        deadline = self.clock.now + within
        others = self.depth + self.inferring - request.unused
        late = self.is_late(others, request.unused + places, deadline)
        refused = places > 0 and (late or self.depth + places > self.queue_limit)
        try:
            self.run(lambda: request.reservation.extend(places, deadline))
        except Overloaded:
            assert refused, "refused although there is room"
        else:
            assert not refused, "accepted although there is no room"
            request.unused += places
            request.later += places

    @precondition(lambda self: any(request.begun for request in self.requests))
    @rule(which=pick)
    def give_up(self, which: int) -> None:
        request = self.one([each for each in self.requests if each.begun], which)
        request.unused -= 1
        self.run(request.reservation.give_up)

    @precondition(lambda self: any(request.begun for request in self.requests))
    @rule(
        which=pick,
        within=st.sampled_from([0.0, 0.25, 1.0, 3.0, NEVER]),
        poisonous=st.sampled_from([False, False, False, True]),
    )
    def submit(self, which: int, within: float, poisonous: bool) -> None:
        request = self.one([each for each in self.requests if each.begun], which)
        number, now = len(self.items), self.clock.now
        deadline = now + within
        task = self.loop.create_task(request.reservation.submit(number, deadline))
        request.unused -= 1
        self.items.append(Item(number, now, deadline, poisonous, task))
        self.waiting.append(self.items[-1])
        self.run(lambda: self.clock.advance(0))
        self.expire()

    @rule(places=st.sampled_from([1, 1, 2]), poisonous=st.sampled_from([False, False, False, True]))
    def post(self, places: int, poisonous: bool) -> None:
        """A request whose first image is ready. By chance, the rules for its parts rarely make one.

        A second image is still being prepared.
        """
        open_before = len(self.requests)
        self.reserve(places, True, math.inf)
        if len(self.requests) > open_before:
            ready = [each for each in self.requests if each.begun]
            self.submit(ready.index(self.requests[-1]), NEVER, poisonous)

    @precondition(lambda self: any(not request.unused for request in self.requests))
    @rule(which=pick)
    def submit_too_many(self, which: int) -> None:
        request = self.one([each for each in self.requests if not each.unused], which)
        task = self.loop.create_task(request.reservation.submit(-1, NEVER))
        self.run()
        assert isinstance(task.exception(), ValueError)

    @precondition(lambda self: self.requests)
    @rule(which=pick)
    def close(self, which: int) -> None:
        request = self.one(self.requests, which)
        self.requests.remove(request)
        self.close_context(request)

    def close_context(self, request: Request) -> None:
        self.run(lambda: request.context.__exit__(None, None, None))

    def leave(self, item: Item) -> None:
        """Cancel the task that waits for an item; the place is free at once."""
        item.task.cancel()
        item.outcome = asyncio.CancelledError
        if item in self.waiting:
            self.waiting.remove(item)

    def unanswered(self) -> list[Item]:
        return [item for item in self.items if item.outcome is None]

    @precondition(lambda self: self.unanswered())
    @rule(which=pick)
    def cancel(self, which: int) -> None:
        self.leave(self.one(self.unanswered(), which))
        self.run()

    @precondition(lambda self: self.retrying)
    @rule(which=pick)
    def cancel_the_next_of_a_failed_batch(self, which: int) -> None:
        """Its call is in hand."""
        work = self.one(self.retrying, which)
        pending = [item for item in work.untried if item.outcome is None]
        if pending:
            self.leave(pending[0])
            self.run()

    # --- what the model and the process do

    def end(self, work: Work, how: str) -> None:
        """End a call of `infer`; the outcome of its items follows."""
        if how == "result" and any(item.poisonous for item in work.call):
            how = "error"
        self.working.remove(work)
        pending = [item for item in work.call if item.outcome is None]
        if how == "result":
            took = self.clock.now - work.started
            for item in pending:
                queued = work.started - item.submitted
                item.outcome = Answer(2 * item.number, queued, took, len(work.call))
        else:
            self.failed_calls += 1
            if len(work.batch) == 1 or len(work.call) == 1:
                for item in pending:
                    item.outcome = InferenceFailed
            if work.call is work.batch:
                work.untried = list(work.batch) if len(work.batch) > 1 else []
        results: dict[str, list[int] | Exception] = {
            "result": [2 * item.number for item in work.call],
            "error": RuntimeError("poison"),
            "too few": [],
        }
        self.end_in_thread(work, results[how])
        if work.untried:
            self.retrying.append(work)

    def end_in_thread(self, work: Work, results: list[int] | Exception) -> None:
        """The thread begins the next batch, if one is in hand, before the event loop runs."""
        begun = self.calls
        late = any(item.deadline <= self.clock.now for item in self.waiting)
        # An item of a failed batch may be first.
        is_in_hand = bool(self.in_hand) and self.threads.in_hand[0] is self.in_hand[0]
        next_begins = is_in_hand and self.is_due() and not late
        self.threads.end(work.running, results)
        if next_begins:
            assert self.calls > begun, "a thread waits although a batch is in hand and due"

    def idle(self, work: Work) -> None:
        """After a step: a worker that has nothing left to try has ended without an error."""
        worker = work.running.worker
        if work in self.working or any(call.worker is worker for call in self.threads.in_hand):
            return
        if work in self.retrying:
            self.retrying.remove(work)
        assert worker.done(), "a worker neither infers nor ends"
        assert worker.cancelled() or worker.exception() is None

    def idle_all(self, work: Work) -> None:
        """After a step, for the worker of the step and those that wait to try an item again."""
        for each in (work, *self.retrying):
            self.idle(each)

    @precondition(lambda self: self.working)
    @rule(which=pick, how=st.sampled_from(["result", "result", "result", "error", "too few"]))
    def finish(self, which: int, how: str) -> None:
        work = self.one(self.working, which)
        self.end(work, how)
        self.run()
        self.idle_all(work)

    @precondition(lambda self: self.is_overloaded and self.working)
    @rule()
    def finish_all_but_one(self) -> None:
        """An overload ends when few items are left."""
        while self.working and len(self.unanswered()) > 1:
            self.finish(0, "result")

    @precondition(lambda self: self.working and self.unanswered())
    @rule(which=pick, leaving=pick, how=st.sampled_from(["result", "error"]))
    def finish_while_a_client_leaves(self, which: int, leaving: int, how: str) -> None:
        """Both in one turn of the event loop: the client left before its answer was there."""
        work, item = self.one(self.working, which), self.one(self.unanswered(), leaving)
        self.two_things_happen = True
        if item in self.waiting or any(item in each.untried for each in self.retrying):
            # It leaves after the thread has taken the next batch, or the next item of a failed
            # one, which may be it.
            self.end(work, how)
            self.leave(item)
        else:
            self.leave(item)
            self.end(work, how)
        self.run()
        self.two_things_happen = False
        self.idle_all(work)

    @precondition(lambda self: self.working)
    @rule(which=pick)
    def cancel_worker(self, which: int) -> None:
        work = self.one(self.working, which)
        self.working.remove(work)
        work.running.worker.cancel()
        for item in work.batch:
            if item.outcome is None:
                item.outcome = InferenceFailed
        self.end_in_thread(work, [])
        self.run()
        self.idle_all(work)

    @precondition(lambda self: self.threads.in_hand)
    @rule(which=pick)
    def cancel_call_in_hand(self, which: int) -> None:
        """Its items stay in the queue, except those of a failed batch."""
        worker = self.one(self.threads.in_hand, which).worker
        worker.cancel()
        for work in [each for each in self.retrying if each.running.worker is worker]:
            self.retrying.remove(work)
            for item in work.batch:
                if item.outcome is None:
                    item.outcome = InferenceFailed
        self.run()
        assert worker.cancelled()

    @rule(by=seconds)
    def advance(self, by: float) -> None:
        self.run(lambda: self.clock.advance(by))
        self.expire()

    @precondition(lambda self: self.working)
    @rule(by=seconds, which=pick)
    def finish_before_late_timers(self, by: float, which: int) -> None:
        """A busy loop: time passes, a batch ends, and only then the timers are called."""
        self.two_things_happen = True
        self.clock.now += by
        work = self.one(self.working, which)
        # They are never inferred any more, whichever is called first.
        late = [item for item in self.waiting if item.deadline <= self.clock.now]
        self.end(work, "result")
        self.run()
        self.run(lambda: self.clock.advance(0))
        self.two_things_happen = False
        self.expire()
        assert all(item.outcome is Timeout for item in late)
        self.idle_all(work)

    @precondition(lambda self: self.in_hand and self.working)
    @rule(by=seconds, which=pick)
    def finish_while_another_image_is_prepared(self, by: float, which: int) -> None:
        """A call in hand was due when it was handed out. It begins only if it is due then, too."""
        self.reserve(1, True, math.inf)
        self.finish_before_late_timers(by, which)

    @rule()
    def drain(self) -> None:
        self.drains.append(self.loop.create_task(self.batcher.drain()))
        self.run()

    # --- what must hold after each step

    @invariant()
    def check(self) -> None:
        """Every invariant."""
        if hasattr(self, "batcher"):
            self.each_item_has_its_one_outcome()
            self.the_queue_is_as_the_model_says()
            self.no_worker_is_idle_while_a_batch_is_due()
            self.the_next_batches_are_in_hand()
            self.drain_ends_exactly_when_nothing_is_left()
            self.no_timer_is_left()

    def each_item_has_its_one_outcome(self) -> None:
        for item in self.items:
            if item.outcome is None:
                assert not item.task.done(), f"item {item.number} was answered too early"
                continue
            assert item.task.done(), f"item {item.number} has no answer"
            if item.outcome is asyncio.CancelledError:
                assert item.task.cancelled()
            elif isinstance(item.outcome, Answer):
                assert item.task.exception() is None
                assert item.task.result() == item.outcome
            else:
                assert type(item.task.exception()) is item.outcome
        assert not self.problems, self.problems

    def the_queue_is_as_the_model_says(self) -> None:
        assert self.batcher.depth == self.depth
        assert 0 <= self.depth <= self.queue_limit, "more items than the queue may hold"
        busy = self.depth + self.inferring - self.later
        assert math.isclose(self.batcher.wait, busy * self.batcher.admission.image_seconds)
        assert len(self.sizes) == self.calls
        assert len(self.failures) == self.failed_calls

    def no_worker_is_idle_while_a_batch_is_due(self) -> None:
        if self.waiting and len(self.working) < self.workers and not self.is_alone:
            assert not self.is_due(), "an item waits, a worker is idle, nothing is coming"

    def the_next_batches_are_in_hand(self) -> None:
        in_hand = len(self.in_hand)
        assert in_hand <= self.workers, "more than one batch in hand for a worker"
        if in_hand:
            assert len(self.working) == self.workers, "a batch in hand, but a worker is idle"
        gone = sum(item.outcome in (Timeout, asyncio.CancelledError) for item in self.items)
        if in_hand > self.were_in_hand and gone == self.were_gone:
            assert self.is_due(in_hand - 1), "a call in hand, but its batch is not due"
        if self.is_alone:
            assert not in_hand, "a batch waits in hand for one that runs alone"
        elif not self.is_retrying:
            missing = in_hand < self.workers and self.is_due(in_hand)
            assert not missing, "a batch is due, but no busy worker has it in hand"
        elif self.was_retrying:
            assert in_hand <= self.were_in_hand, "a failed batch waits for more than was in hand"
        self.was_retrying, self.were_in_hand = self.is_retrying, in_hand
        self.were_gone = gone

    def drain_ends_exactly_when_nothing_is_left(self) -> None:
        left = self.depth or self.working
        for drain in self.drains:
            assert drain.done() == (not left), "drain returned too early or not at all"

    def no_timer_is_left(self) -> None:
        armed = [timer for _, _, timer in self.clock.timers if timer.callback is not None]
        assert len(armed) <= len(self.unanswered()) + bool(self.waiting)

    def teardown(self) -> None:
        """Shut down in order: then everything is answered, and nothing is left."""
        try:
            if hasattr(self, "batcher"):
                self.shut_down()
        finally:
            # After a failure too, or the garbage collector closes them without an event loop.
            for request in self.requests:
                with suppress(Exception):
                    self.close_context(request)
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(settle())
            self.loop.close()

    def shut_down(self) -> None:
        self.drain()
        while self.requests:
            self.close(0)
            self.check()
        while self.working or self.waiting:
            if self.working:
                self.finish(0, "result")
            else:
                self.advance(4.0)
            self.check()
        assert not self.unanswered()
        assert self.batcher.depth == 0
        assert self.batcher.wait == 0
        assert all(drain.done() for drain in self.drains)
