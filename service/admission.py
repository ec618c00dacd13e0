"""Admits requests to detect, for every API."""

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from starlette.requests import Request

from detection.detector import Detection, Detector, Query
from detection.errors import RequestError, Timeout
from service import body, uploads
from service.deadlines import deadline_of
from service.disconnects import unless_client_goes
from service.errors import InvalidParameter
from service.fetching.fetcher import Budget
from service.runtime import Runtime
from service.uploads import JsonReader, Uploads, from_json


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that the service has taken, with its deadline and its share of body memory."""

    request: Request
    runtime: Runtime
    deadline: float
    """A time of the event loop's clock."""
    held: body.Held

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, within the limits of the settings."""
        return body.stream(
            self.request.receive,
            self.request.headers,
            max_bytes=self.runtime.settings.max_bytes,
            deadline=self.deadline,
            held=self.held,
        )

    async def read(
        self,
        *,
        max_images: int,
        read_json: JsonReader = from_json,
        known: Collection[str] | None = None,
    ) -> Uploads:
        """The image files and parameters in the body, within the limits of the settings.

        Where `known` is given, fields of a form with other names are ignored.
        """
        headers = self.request.headers
        return await uploads.read(
            headers.get("content-type", ""),
            headers.get("content-encoding", ""),
            self.chunks(),
            max_images=max_images,
            deadline=self.deadline,
            read_json=read_json,
            known=known,
        )

    async def fetch(self, sent: Uploads) -> Uploads:
        """The upload, with the files that its URLs lead to.

        Raises InvalidParameter where the service fetches none, the problem of a single URL, and
        Timeout where any file came too late.
        """
        if not sent.urls:
            return sent
        fetcher, settings = self.runtime.fetcher, self.runtime.settings
        if fetcher is None:
            raise InvalidParameter(
                "url: this service fetches no images (SFD_FETCH_HOSTS is not set); send the file"
            )
        # The body counts too: a request holds no more bytes than it could have sent.
        budget = Budget(settings.max_bytes - self.held.count, self.held)
        fetching = fetcher.fetch_all(sent.urls, self.deadline, budget)
        files = await unless_client_goes(self.request.receive, fetching)
        problems = [file for file in files if isinstance(file, RequestError)]
        late = [problem for problem in problems if isinstance(problem, Timeout)]
        # The deadline is the request's: once a fetch misses it, nothing else can be done in time.
        for problem in late or ([] if sent.several else problems):
            raise problem
        return replace(sent, files=files)

    async def detect(
        self, detector: Detector, files: Sequence[bytes | RequestError], query: Query
    ) -> list[Detection | RequestError]:
        """The faces of each file, or its problem; ClientGone when the client disconnects first."""
        return await unless_client_goes(
            self.request.receive, detector.detect_all(files, query, self.deadline)
        )

    async def detect_one(self, detector: Detector, sent: Uploads, query: Query) -> Detection:
        """The faces of the only image; raises its problem."""
        sent = await self.fetch(sent)
        (found,) = await self.detect(detector, sent.files, query)
        log_faces(self.request, detector, [found])
        if isinstance(found, RequestError):
            raise found
        return found


@contextmanager
def admit(request: Request, detector: Detector) -> Iterator[Admission]:
    """Take a request that just arrived for `detector`, until the block ends.

    Raises Overloaded unless the service is ready and the queue has room, InvalidParameter for a
    wrong X-Request-Timeout.
    """
    runtime: Runtime = request.app.state.runtime
    deadline = deadline_of(request, runtime.settings.request_timeout_s)
    runtime.check_open()
    detector.batcher.check_room(deadline=deadline)
    with runtime.memory.hold() as held:
        yield Admission(request, runtime, deadline, held)


def log_faces(
    request: Request, detector: Detector, found: Sequence[Detection | RequestError]
) -> None:
    """Add to the request's log line which model answered, and how much it found."""
    request.state.log_fields = {
        "model": detector.session.model.name,
        "images": len(found),
        "faces": sum(len(one.scores) for one in found if isinstance(one, Detection)),
    }
