"""A bulk job from its arguments to its results: makes or checks the plan, then does the shards."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detection.bulk import cluster, plan, sources, tables
from detection.bulk.arguments import Part
from detection.bulk.listing import SortedNames
from detection.bulk.output import PLAN, Output, listing_name, part_name
from detection.bulk.plan import Plan, SourcePlan
from detection.bulk.progress import Progress
from detection.bulk.settings import BulkSettings
from detection.bulk.worker import Advance, Report, Worker
from detection.detector import Query
from detection.opening import find_model
from detection.precision import Precision
from sfd.errors import UsageError
from sfd.files import scratch
from sfd.terminal import counted, say
from store import model as models

WHOLE = Part(1, 1)


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for."""

    source: str
    out: str
    query: Query
    shard_size: int
    column: str | None = None
    key: str | None = None
    part: Part = WHOLE
    keep_listing: bool = False
    ray: str | None = None
    """The address of a Ray cluster, "" for Ray's default; None: this process."""
    ray_cpus: int | None = None


def run(request: Request, settings: BulkSettings) -> None:
    """Do what is missing of a job.

    Raises UsageError for a source or a folder that can't be used, and BulkError, StartError or
    ModelError if the job fails.
    """
    output = Output(request.out)
    agreed = prepare(request, output, settings)
    output.clean(listing_name(agreed.source.fingerprint))
    shards = range(request.part.number - 1, agreed.shards, request.part.of)
    done = output.finished(agreed.id, agreed.shards)
    missing = [shard for shard in shards if not done[shard]]
    total = sum(map(agreed.pictures_in, shards))
    finished = total - sum(map(agreed.pictures_in, missing))
    failures: Counter[str] = Counter()
    with Progress(total, finished) as progress:
        for report in _reports(agreed, missing, request, settings, progress.advance):
            failures += report.failures
            progress.failed(failures.total())
    _print(_summary(total, total - finished, failures, progress.rate))


def prepare(request: Request, output: Output, settings: BulkSettings) -> Plan:
    """The plan of a job: written at the first start, and checked later.

    Raises UsageError, which says what changed, if the folder has another plan.
    """
    written = output.read_plan()
    before = None if written is None else plan.read(written, output.name)
    model = find_model(settings, settings.served_models[0])
    build = models.check(model)
    if settings.precision is Precision.INT8:
        models.check_int8(model, build)

    def planned(source: SourcePlan) -> Plan:
        return Plan(
            source=source,
            shard_size=request.shard_size,
            model=plan.model_plan(model, build, settings),
            options=plan.options(request.query, model, settings),
        )

    if request.keep_listing:
        if before is None:
            raise UsageError(f"--keep-listing: {output.name} has no listing yet")
        plan.check_same(before, planned(before.source), output.name)
        return before
    if before is None:
        now = planned(_listed(request, output, request.shard_size))
        output.write(PLAN, now.to_json())
        # Another job that started at the same time has either the same plan, or the last word.
        before = plan.read(output.read_plan() or b"", output.name)
    else:
        now = planned(_listed(request, output, None))
    plan.check_same(before, now, output.name)
    return before


def _listed(request: Request, output: Output, shard_size: int | None) -> SourcePlan:
    """List the source. With a shard size, write the listing to the folder."""
    source = sources.find(request.source, request.column, request.key, request.out)
    if source.kind == "bytes":
        files, fingerprint = tables.describe(source.files, source.column or "", source.key)
        count = sum(file.rows for file in files)
        _check_some(request.source, count)
        return SourcePlan(
            kind=source.kind,
            name=source.name,
            pictures=count,
            base=source.base,
            fingerprint=fingerprint,
            column=source.column,
            key=source.key,
            files=files,
        )
    with SortedNames(sources.names(source)) as names, scratch("bulk") as folder:
        _check_some(request.source, names.count)
        if names.repeated:
            repeated = counted(names.repeated, "picture")
            _print(f"{request.source} names {repeated} again; each is done once")
        if shard_size is not None:
            path = Path(folder) / "listing"
            names.write(path, shard_size)
            output.write_copy(listing_name(names.fingerprint), path)
        return SourcePlan(
            kind=source.kind,
            name=source.name,
            pictures=names.count,
            base=source.base,
            fingerprint=names.fingerprint,
            column=source.column,
        )


def _check_some(name: str, count: int) -> None:
    if not count:
        raise UsageError(f"--bulk {name}: has no pictures")


def _reports(
    agreed: Plan,
    missing: Sequence[int],
    request: Request,
    settings: BulkSettings,
    advance: Advance,
) -> Iterator[Report]:
    if not missing:
        return
    if request.ray is None:
        yield from _here(agreed, missing, request, settings, advance)
        return
    for report in cluster.run(
        agreed, missing, request.out, settings, request.ray, request.ray_cpus
    ):
        advance(report.pictures)
        yield report


def _here(
    agreed: Plan,
    missing: Sequence[int],
    request: Request,
    settings: BulkSettings,
    advance: Advance,
) -> Iterator[Report]:
    """Do the shards in this process."""
    output = Output(request.out)
    with Worker(agreed, request.out, settings) as worker:
        for number, shard in enumerate(missing):
            # Another job may work in this folder too. What it has done need not be done again.
            if number and output.has(part_name(shard, agreed.id)):
                advance(agreed.pictures_in(shard))
                continue
            yield worker.run(shard, advance)


def _summary(total: int, now: int, failures: Counter[str], rate: float) -> str:
    if not now:
        return f"{counted(total, 'picture')} done"
    run = f", {now} of them in this run" if now < total else ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in failures.most_common())
    failed = f"{failures.total()} failed ({kinds})" if failures else "none failed"
    return f"{counted(total, 'picture')} done{run}, {failed}, {rate:.1f} per second"


def _print(text: str) -> None:
    say(f"sfd detect: {text}", error=True)
