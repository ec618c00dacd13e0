"""Runs a comparison: rounds in which the servers take turns, one at a time.

In a round each server is started, its answers are checked, and it gets every load in turn. The
speed of a shared machine changes while it is measured, so ratios are taken within a round.
"""

import http.client
import json
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.servers import (
    answers,
    arrivals,
    environments,
    graphs,
    pictures,
    ports,
    running,
    saturation,
    usage,
)
from benchmarks.servers.contenders import CONTENDERS, ENVIRONMENTS, Contender, Graph, Kind
from benchmarks.servers.peers.setup import Setup
from benchmarks.servers.peers.work import Detector
from benchmarks.servers.results import Results, Values
from benchmarks.servers.running import Server
from detection.cpu import available_cpus
from detection.precision import lacking, processor_features
from sfd.errors import SfdError
from store.model import Model

PARTS = ("saturation", "latency", "overload", "costs")
CLIENTS = (1, 4, 16, 32)
LOADS = (0.3, 0.7, 1.0)
"""Shares of the ceiling at which latency is measured."""
OVERLOAD = 3.0
OPEN_LOOP = 2
"""A cell of the open loop lasts so many times as long as one of saturation,"""
OVERLOAD_LASTS = 4
"""and one of overload, so that what happens in its first seconds does not decide."""
WARM_UP_S = 1.0
COST_CLIENTS = 4
SHORT_WAIT_S = 0.8
"""`SFD_TARGET_WAIT_S` of a service whose clients want an answer within a second, or a refusal."""
BATCHES = (1, 2, 4, 8)
BATCH_CLIENTS = 16
FAILURES = (SfdError, OSError, http.client.HTTPException)
"""What ends the measurements of one server, but not the run."""


Measure = Callable[[Server], Values]
"""Gives a running server a load; returns what was measured."""


@dataclass(frozen=True)
class Plan:
    """What is run."""

    servers: tuple[str, ...]
    parts: tuple[str, ...]
    rounds: int
    seconds: float
    """Of each cell of saturation."""
    photographs: tuple[Path, ...]
    graph: Graph = Graph.UNMERGED
    """The file that peers get."""
    port: int = 0
    workers: int = 0
    """Processes of each peer; 0 means one for each core."""

    @property
    def needs_wrk(self) -> bool:
        """Whether wrk measures one of the parts."""
        return not {"saturation", "costs"}.isdisjoint(self.parts)

    def settings(self, model: Model) -> Values:
        """What a resumed run must have in common."""
        return {
            "model": model.name,
            "graphs": graphs.hashes(model),
            "servers": list(self.servers),
            "parts": list(self.parts),
            "rounds": self.rounds,
            "seconds": self.seconds,
            "photographs": [path.name for path in self.photographs],
            "peers_graph": str(self.graph),
            "workers": self.workers or available_cpus(),
        }


class Comparison:
    """A run of a plan, whose measurements go into `results`."""

    def __init__(
        self,
        plan: Plan,
        model: Model,
        results: Results,
        say: Callable[[str], object] = print,
    ) -> None:
        self.plan, self.model, self.results, self.say = plan, model, results, say
        self.workers = plan.workers or available_cpus()
        self.files = [path.read_bytes() for path in plan.photographs]
        self.folder = ENVIRONMENTS / "logs"
        self.folder.mkdir(parents=True, exist_ok=True)
        reference = Detector(self._setup(CONTENDERS["loop"]))
        self.expected = [reference.detect(data) for data in self.files]

    def run(self) -> None:
        """Measure every cell that is missing. Servers that do not work are left out."""
        contenders = self._able()
        for contender in contenders:
            self.results.data["versions"][contender.name] = environments.versions(contender)
        if self.results.data["ceiling"] is None and {"latency", "overload"} & set(self.plan.parts):
            self.results.data["ceiling"] = self._ceiling()
        self.results.save()
        for turn in range(self.plan.rounds):
            # Each round begins with another server, so that none always follows the same one.
            shift = turn % max(1, len(contenders))
            for contender in contenders[shift:] + contenders[:shift]:
                if contender.kind is Kind.LOOP:
                    self._loop(turn, contender)
                else:
                    self._server(turn, contender)
            if "overload" in self.plan.parts and "ours" in self.plan.servers:
                self._short_wait(turn)
            if "costs" in self.plan.parts and "ours" in self.plan.servers:
                self._costs(turn)

    def _able(self) -> list[Contender]:
        """The contenders that can run here; the others are noted with their reasons."""
        able = []
        left_out: dict[str, str] = {}
        for contender in (CONTENDERS[name] for name in self.plan.servers):
            reason = environments.lacking(contender) or lacking(
                contender.precision, processor_features()
            )
            if reason is None:
                able.append(contender)
            else:
                left_out[contender.name] = reason
                self.say(f"{contender.title}: left out, {reason}")
        self.results.data["left_out"] = left_out
        return able

    def _setup(self, contender: Contender) -> Setup:
        graph = contender.graph or self.plan.graph
        return graphs.setup(self.model, graph, self.workers, ports.free(self.plan.port))

    def _ceiling(self) -> float:
        """Images per second of the bare loop on the unmerged file: the loads are shares of it."""
        rates = [
            float(self._run_loop(CONTENDERS["loop"], self.plan.seconds)["images_per_s"])
            for _ in range(2)
        ]
        self.say(f"ceiling: {statistics.mean(rates):.1f} images/s")
        return round(statistics.mean(rates), 4)

    def _loop(self, turn: int, contender: Contender) -> None:
        cell = "saturation"
        if "saturation" in self.plan.parts and not self.results.has(turn, contender.name, cell):
            self._add(turn, contender.name, cell, self._run_loop(contender, self.plan.seconds))

    def _run_loop(self, contender: Contender, seconds: float) -> Values:
        mark, file = uuid.uuid4().hex, self.folder / f"{contender.name}.json"
        self._setup(contender).write(file)
        command = [
            str(environments.python(contender)),
            *contender.program,
            str(seconds),
            *map(str, self.plan.photographs),
        ]
        process = subprocess.Popen(
            command,
            env=running.environment(contender, mark, file),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            # By then, all processes are at work.
            time.sleep(1.0 + seconds / 2)
            memory = usage.pss_bytes(mark)
            output, errors = process.communicate(timeout=60 + seconds)
        finally:
            process.kill()
            usage.kill(mark)
        if process.returncode:
            raise SfdError(f"{contender.title} failed: {errors.strip()[-500:]}")
        found: Values = json.loads(output)
        return {**found, "pss_mb": memory / 1e6}

    def _server(self, turn: int, contender: Contender) -> None:
        cells = list(self._cells(turn, contender))
        if all(self.results.has(turn, contender.name, name) for name, _ in cells):
            return
        setup = self._setup(contender)
        try:
            with running.started(contender, setup, self.files[0], self.folder) as server:
                self._check(server)
                self._warm_up(server)
                self.results.forget_failure(turn, contender.name)
                self._add(turn, contender.name, "start", {"ready_s": server.ready_s})
                for name, measure in cells:
                    if not self.results.has(turn, contender.name, name):
                        self._settle(server)
                        self._add(turn, contender.name, name, measure(server))
        except FAILURES as error:
            self._fail(turn, contender.name, error)

    def _cells(self, turn: int, contender: Contender) -> Iterator[tuple[str, Measure]]:
        """The names of a server's cells, and what measures them."""
        if "saturation" in self.plan.parts:
            for clients in CLIENTS:
                yield f"saturation {clients}", partial(self._saturate, clients=clients)
        if "latency" in self.plan.parts:
            for load in LOADS:
                yield f"latency {load:.0%}", partial(self._open_loop, load=load, turn=turn)
        if "overload" in self.plan.parts:
            yield "overload", partial(self._overload, turn=turn)

    def _check(self, server: Server) -> None:
        """Raise OtherAnswer unless the server's faces are those of the reference."""
        for path, data, expected in zip(
            self.plan.photographs, self.files, self.expected, strict=True
        ):
            status, body = server.post(data)
            if status != 200:
                raise answers.OtherAnswer(f"{path.name}: HTTP {status} {body[:200]!r}")
            try:
                answers.check(expected, body, server.contender.precision)
            except answers.OtherAnswer as error:
                raise answers.OtherAnswer(f"{path.name}: {error}") from None

    def _warm_up(self, server: Server) -> None:
        """Let every worker infer, unmeasured."""
        times = arrivals.schedule(10 * self.workers, min(WARM_UP_S, self.plan.seconds), 0)
        arrivals.send(server.url, self.files, times, 10.0)

    def _settle(self, server: Server) -> None:
        """Wait until the server has done what the last cell left behind."""
        server.post(self.files[0])
        quiet = 0
        for _ in range(300):
            before = usage.cpu_s(server.mark)
            time.sleep(0.1)
            quiet = quiet + 1 if usage.cpu_s(server.mark) - before <= 0.03 else 0
            if quiet == 2:
                return

    def _saturate(
        self, server: Server, clients: int, photographs: Sequence[Path] | None = None
    ) -> Values:
        with self._watched(server) as used:
            found = saturation.saturate(
                server.url, photographs or self.plan.photographs, clients, self.plan.seconds
            )
        return found | self._per_image(used, found["answered"])

    def _overload(self, server: Server, turn: int) -> Values:
        return self._open_loop(server, OVERLOAD, turn, OVERLOAD_LASTS)

    def _open_loop(self, server: Server, load: float, turn: int, lasts: int = OPEN_LOOP) -> Values:
        rate, seconds = self.results.data["ceiling"] * load, lasts * self.plan.seconds
        # The same arrivals for every server of a round.
        times = arrivals.schedule(rate, seconds, seed=1000 * turn + round(100 * load))
        with self._watched(server) as used:
            patience = OPEN_LOOP * self.plan.seconds
            outcomes = arrivals.send(server.url, self.files, times, patience)
        found = arrivals.summary(outcomes, seconds)
        return {"rate": rate} | found | self._per_image(used, found["answered"])

    @contextmanager
    def _watched(self, server: Server) -> Iterator[Values]:
        """Gives the CPU seconds of a server in the block, and its memory at the end."""
        used: Values = {}
        before = usage.cpu_s(server.mark)
        yield used
        used["cpu_s"] = usage.cpu_s(server.mark) - before
        used["pss_mb"] = usage.pss_bytes(server.mark) / 1e6

    def _per_image(self, used: Values, images: int) -> Values:
        cpu_ms = 1000 * used["cpu_s"] / images if images else None
        return {"cpu_ms": cpu_ms, "pss_mb": used["pss_mb"]}

    def _short_wait(self, turn: int) -> None:
        """Overload of this service where it lets images wait less than by default."""
        server = CONTENDERS["ours"].with_settings(
            "ours-short-wait", "short wait", SFD_TARGET_WAIT_S=str(SHORT_WAIT_S)
        )
        self._alone(turn, server, {"overload": partial(self._overload, turn=turn)})

    def _costs(self, turn: int) -> None:
        """What pictures and batches cost this service, each setting with a start of its own."""
        ours = CONTENDERS["ours"]
        made = pictures.make(ENVIRONMENTS / "pictures")
        reduced = ours.with_settings("ours-reduced", "reduced", SFD_REDUCED_DECODING="true")
        sizes = {name: path for name, path in made.items() if name.startswith("size")}
        self._alone(turn, ours, self._loads(COST_CLIENTS, made))
        self._alone(turn, reduced, self._loads(COST_CLIENTS, sizes))
        twice = ours.with_settings("ours-second-look", "second look", SFD_SECOND_LOOK="true")
        portrait = {pictures.PORTRAIT: made[pictures.PORTRAIT]}
        self._alone(turn, twice, self._loads(COST_CLIENTS, portrait))
        for batch in BATCHES:
            server = ours.with_settings(
                "ours-batched",
                "batched",
                SFD_MAX_BATCH=str(batch),
                SFD_WORKERS="1",
                # wrk repeats a refused request at once, so refusals would be measured too.
                SFD_TARGET_WAIT_S="60",
            )
            photograph = {f"batch {batch}": self.plan.photographs[0]}
            self._alone(turn, server, self._loads(BATCH_CLIENTS, photograph))

    def _loads(self, clients: int, paths: Mapping[str, Path]) -> dict[str, Measure]:
        """Cells that post one picture each, by its name in `paths`."""

        def load(path: Path, server: Server) -> Values:
            server.post(path.read_bytes())
            self._settle(server)
            return self._saturate(server, clients, [path])

        return {name: partial(load, path) for name, path in paths.items()}

    def _alone(self, turn: int, contender: Contender, cells: Mapping[str, Measure]) -> None:
        """Measure the cells that are missing with a start of this service's own."""
        missing = {
            name: measure
            for name, measure in cells.items()
            if not self.results.has(turn, contender.name, name)
        }
        if not missing:
            return
        setup = self._setup(contender)
        try:
            with running.started(contender, setup, self.files[0], self.folder) as server:
                self.results.forget_failure(turn, contender.name)
                self._warm_up(server)
                for name, measure in missing.items():
                    self._settle(server)
                    self._add(turn, contender.name, name, measure(server))
        except FAILURES as error:
            self._fail(turn, contender.name, error)

    def _add(self, turn: int, server: str, cell: str, values: Values) -> None:
        self.results.add(turn, server, cell, values)
        shown: list[Any] = [
            f"{key} {values[key]:.4g}"
            for key in ("images_per_s", "p50_ms", "p99_ms", "in_time_per_s", "cpu_ms", "pss_mb")
            if values.get(key) is not None
        ]
        self.say(f"round {turn + 1}, {server}, {cell}: {', '.join(shown) or values}")

    def _fail(self, turn: int, server: str, error: Exception) -> None:
        self.results.add(turn, server, "failed", {"error": str(error) or repr(error)})
        self.say(f"round {turn + 1}, {server}: failed: {error}")
