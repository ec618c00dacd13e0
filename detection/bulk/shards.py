"""The pictures of each shard: names to read, or rows of a table of bytes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from detection.bulk.listing import Listing
from detection.bulk.names import beside
from detection.bulk.output import Output, listing_name
from detection.bulk.plan import Plan
from detection.bulk.reading import read
from detection.bulk.tables import ByteTable
from detection.errors import RequestError
from detection.sources import UnreadableFile, too_large


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that is not read yet."""

    name: str
    read: Callable[[], bytes | RequestError]
    """Reads the file. Slow: run it in a thread."""


class Shards(Protocol):
    """The pictures of a job by shard."""

    def pictures(self, shard: int) -> Iterator[Picture]:
        """The pictures of a shard in order. Slow: take each one in a thread."""


class NamedShards:
    """Pictures of a listing."""

    def __init__(self, plan: Plan, listing: Listing) -> None:
        self._listing = listing
        self._base = plan.source.base
        self._most = plan.options.max_bytes

    def pictures(self, shard: int) -> Iterator[Picture]:
        """The pictures of a shard in the order of their names."""
        for name in self._listing.names(shard):
            yield Picture(name, partial(read, beside(self._base, name), self._most))


class ByteShards:
    """Pictures of a table of bytes."""

    def __init__(self, plan: Plan) -> None:
        source = plan.source
        self._table = ByteTable(source.files, source.column or "", source.key)
        self._plan = plan

    def pictures(self, shard: int) -> Iterator[Picture]:
        """The pictures of a shard in the order of their rows."""
        start, count = shard * self._plan.shard_size, self._plan.pictures_in(shard)
        for name, content in self._table.rows(start, count):
            yield Picture(name, partial(self._checked, content))

    def _checked(self, content: bytes | None) -> bytes | RequestError:
        if content is None:
            return UnreadableFile("the row of the table has no bytes")
        most = self._plan.options.max_bytes
        return too_large(most) if len(content) > most else content


def shards_of(plan: Plan, output: Output) -> Shards:
    """The shards of a plan."""
    if plan.source.kind == "bytes":
        return ByteShards(plan)
    return NamedShards(plan, Listing(output.open(listing_name(plan.source.fingerprint))))
