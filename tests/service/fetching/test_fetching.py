"""{"url": …} against real HTTP servers on this machine; only the resolver is a fake."""

import asyncio
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import FetchFailed, HostNotAllowed
from service.fetching import fetcher
from service.fetching.fetcher import EACH
from service.runtime import Runtime

Cells = Callable[..., bytes]
HOST = "images.test"


class Site(socketserver.ThreadingTCPServer):
    """Sends the bytes of `answers` for a path, and records the requests."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port: int = self.server_address[1]
        self.answers: dict[str, bytes | Callable[[Any], None]] = {}
        self.heads: list[str] = []
        self.tls = tls

    def get_request(self) -> Any:
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Some tests close the connection early on purpose."""

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://{HOST}:{self.port}{path}"


class Handler(socketserver.StreamRequestHandler):
    server: Site

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.rfile.read(1)
        self.server.heads.append(head.decode())
        answer = self.server.answers[head.split()[1].decode()]
        if callable(answer):
            answer(self.wfile)
        else:
            self.wfile.write(answer)


def ok(data: bytes, *headers: str) -> bytes:
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(data)}", *headers, "", ""])
    return head.encode() + data


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@contextmanager
def running(site: Site) -> Iterator[Site]:
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with running(Site()) as started:
        yield started


class Resolver:
    """Answers with the next of the given lists of addresses, and records the queries."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers) or [["127.0.0.1"]]
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def fetching(serve: Any, site: Site) -> Any:
    """A service that may fetch from the site, whose name resolves to 127.0.0.1."""

    def start(*answers: list[str], private: bool = True, **options: Any) -> Any:
        def change(runtime: Runtime) -> None:
            assert runtime.fetcher is not None
            runtime.fetcher.resolve = Resolver(*answers)

        hosts = options.pop("fetch_hosts", f"{HOST}:{site.port}")
        return serve(change, fetch_hosts=hosts, fetch_private=private, **options)

    return start


def resolver(client: Any) -> Resolver:
    found: Resolver = client.app.state.runtime.fetcher.resolve
    return found


# --- what works


def test_one_url_is_answered_as_its_image(fetching: Any, site: Site, bright_cells: Cells) -> None:
    site.answers["/a?b=1"] = ok(bright_cells(3, 5))
    with fetching() as client:
        answer = client.post("/detect", json={"url": site.url("/a?b=1"), "max_faces": 1})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["faces"]) == 1
        assert 'sfd_fetches_total{outcome="fetched"} 1.0' in client.get("/metrics").text
    [head] = site.heads
    assert f"\r\nHost: {HOST}:{site.port}\r\n" in head
    assert "\r\nAccept-Encoding: identity\r\n" in head
    assert "cookie" not in head.lower()
    assert "authorization" not in head.lower()


def test_several_urls_are_answered_in_order(fetching: Any, site: Site, bright_cells: Cells) -> None:
    site.answers |= {"/1": ok(bright_cells(3)), "/2": ok(b"text"), "/3": ok(bright_cells(3, 5))}
    with fetching() as client:
        listed = [site.url(path) for path in ("/1", "/2", "/3")] + ["http://other.test/"]
        results = client.post("/detect", json={"urls": listed}).json()["results"]
        kinds = [
            each["error"]["type"] if "error" in each else len(each["faces"]) for each in results
        ]
        assert kinds == [1, "unsupported-media-type", 2, "host-not-allowed"]
        assert client.app.state.runtime.memory.held == 0


def test_chunks_and_a_body_without_a_length_are_read(
    fetching: Any, site: Site, bright_cells: Cells
) -> None:
    data = bright_cells(3)
    chunk = f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n"
    site.answers["/chunked"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
    site.answers["/old"] = b"HTTP/1.0 200 OK\r\n\r\n" + data
    with fetching() as client:
        for path in ("/chunked", "/old"):
            answer = client.post("/detect", json={"url": site.url(path)})
            assert len(answer.json()["faces"]) == 1


def test_redirects_within_the_list_are_followed(
    fetching: Any, site: Site, bright_cells: Cells
) -> None:
    site.answers |= {"/a/1": redirect("2"), "/a/2": redirect(site.url("/3"), 307)}
    site.answers["/3"] = ok(bright_cells(3))
    with fetching() as client:
        assert client.post("/detect", json={"url": site.url("/a/1")}).status_code == 200
        # Looked up and checked for each hop.
        assert resolver(client).asked == [HOST] * 3


def test_a_redirect_to_a_path_with_spaces_is_followed_as_browsers_do(
    fetching: Any, site: Site, bright_cells: Cells
) -> None:
    site.answers |= {"/1": redirect("/my cats/2?a b"), "/my%20cats/2?a%20b": ok(bright_cells(3))}
    with fetching() as client:
        answer = client.post("/detect", json={"url": site.url("/1")})
        assert answer.status_code == 200, answer.text


def test_a_picture_can_be_drawn_of_a_url(fetching: Any, site: Site, bright_cells: Cells) -> None:
    site.answers["/a"] = ok(bright_cells(3))
    with fetching() as client:
        answer = client.post("/detect", json={"url": site.url("/a"), "render": "blur"})
        assert answer.headers["content-type"] == "image/png"


# --- ways around it


def problem(client: Any, url: str) -> tuple[int, str, str]:
    answer = client.post("/detect", json={"url": url})
    body = answer.json()
    return answer.status_code, body["type"], body["detail"]


@pytest.mark.parametrize("member", ["url", "urls"])
def test_without_the_setting_nothing_is_fetched(client: Any, member: str) -> None:
    value: Any = "http://images.test/" if member == "url" else ["http://images.test/"]
    answer = client.post("/detect", json={member: value})
    assert answer.status_code == 422
    assert "SFD_FETCH_HOSTS" in answer.json()["detail"]


def test_the_list_of_hosts_is_not_revealed(fetching: Any, site: Site) -> None:
    with fetching() as client:
        status, kind, detail = problem(client, "http://other.test/")
        assert (status, kind) == (403, "host-not-allowed")
        assert HOST not in detail
        assert resolver(client).asked == []
        assert 'sfd_fetches_total{outcome="refused"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%lo"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
    ],
)
def test_a_host_with_an_address_that_is_not_public_is_refused(
    fetching: Any, site: Site, bright_cells: Cells, addresses: list[str]
) -> None:
    site.answers["/"] = ok(bright_cells(3))
    with fetching(addresses, private=False) as client:
        status, kind, detail = problem(client, site.url("/"))
        assert (status, kind) == (403, "host-not-allowed")
        assert not any(address in detail for address in addresses)
    assert site.heads == []


def test_metadata_is_refused_on_an_intranet_too(fetching: Any, site: Site) -> None:
    with fetching(["169.254.169.254"]) as client:
        assert problem(client, site.url("/"))[1] == "host-not-allowed"


def test_a_name_that_changes_its_address_is_looked_up_once(
    fetching: Any, site: Site, bright_cells: Cells
) -> None:
    site.answers["/"] = ok(bright_cells(3))
    # The name doesn't exist, so reaching the site proves that the checked address was used.
    with fetching(["127.0.0.1"], ["169.254.169.254"]) as client:
        assert client.post("/detect", json={"url": site.url("/")}).status_code == 200
        assert resolver(client).asked == [HOST]


def test_a_redirect_to_a_name_with_a_new_address_is_checked_again(
    fetching: Any, site: Site
) -> None:
    site.answers["/"] = redirect("/2")
    with fetching(["127.0.0.1"], ["169.254.169.254"]) as client:
        assert problem(client, site.url("/"))[:2] == (403, "host-not-allowed")
    assert len(site.heads) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://other.test/",
        "//other.test/",
        f"http://{HOST}:22/",
        "http://localhost/",
    ],
)
def test_a_redirect_to_a_host_that_is_not_listed_is_refused(
    fetching: Any, site: Site, location: str
) -> None:
    site.answers["/"] = redirect(location)
    with fetching() as client:
        assert problem(client, site.url("/"))[:2] == (403, "host-not-allowed")
        assert resolver(client).asked == [HOST]


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://images.test/", "http://a@images.test/", "http://[::1]/",
     "http://[", f"http://{HOST} /", f"http://{HOST}/\xfc"],
)  # fmt: skip
def test_a_redirect_to_a_url_of_another_form_fails(
    fetching: Any, site: Site, location: str
) -> None:
    site.answers["/"] = redirect(location)
    with fetching() as client:
        status, kind, detail = problem(client, site.url("/"))
        assert (status, kind) == (424, "fetch-failed")
        assert detail.startswith("a redirect must lead to http://HOST/PATH or https://HOST/PATH, ")


def test_a_loop_of_redirects_ends(fetching: Any, site: Site) -> None:
    site.answers["/"] = redirect("/")
    with fetching() as client:
        assert problem(client, site.url("/"))[:2] == (424, "fetch-failed")
    assert len(site.heads) == 4


def test_no_proxy_of_the_environment_is_used(
    fetching: Any, site: Site, bright_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.answers["/"] = ok(bright_cells(3))
    with fetching() as client:
        assert client.post("/detect", json={"url": site.url("/")}).status_code == 200


# --- servers that misbehave


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
)
def test_an_answer_without_a_file_is_a_failed_fetch(
    fetching: Any, site: Site, answer: bytes
) -> None:
    site.answers["/"] = answer
    with fetching() as client:
        assert problem(client, site.url("/"))[:2] == (424, "fetch-failed")
        assert 'sfd_fetches_total{outcome="fetch-failed"} 1.0' in client.get("/metrics").text
        assert client.app.state.runtime.memory.held == 0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "ended too early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "ended too early"),
        (b"", "ended too early"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "is not valid HTTP"),
    ],
)
def test_an_answer_that_is_cut_off_is_not_called_invalid(
    fetching: Any, site: Site, answer: bytes, says: str
) -> None:
    site.answers["/"] = answer
    with fetching() as client:
        assert f"the answer {says}" in problem(client, site.url("/"))[2]


def test_an_unreachable_host_is_a_failed_fetch(fetching: Any, site: Site) -> None:
    with fetching([]) as client:
        assert problem(client, site.url("/"))[:2] == (424, "fetch-failed")
    with fetching(fetch_hosts=f"{HOST}:9") as client:
        assert problem(client, f"http://{HOST}:9/")[:2] == (424, "fetch-failed")


@contextmanager
def dropping(address: str, port: int) -> Iterator[None]:
    """Let Linux answer no attempt to connect: the list of connections to accept is full."""
    with socket.socket() as full, ExitStack() as waiting:
        full.bind((address, port))
        full.listen(0)
        for _ in range(3):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address, port))
        yield


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has 127.0.0.2 and drops packets")
def test_an_address_that_drops_packets_leaves_time_for_the_next(
    fetching: Any, site: Site, bright_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "CONNECT_S", 0.5)
    site.answers["/"] = ok(bright_cells(3))
    with dropping("127.0.0.2", site.port), fetching(["127.0.0.2", "127.0.0.1"]) as client:
        assert client.post("/detect", json={"url": site.url("/")}).status_code == 200
    with dropping("127.0.0.2", site.port), fetching(["127.0.0.2"]) as client:
        status, kind, detail = problem(client, site.url("/"))
        assert (status, kind) == (424, "fetch-failed")
        assert "no answer" in detail
    assert len(site.heads) == 1


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc"])
def test_an_answer_that_stalls_is_a_failed_fetch(
    fetching: Any, site: Site, begins: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "STALL_S", 0.5)
    done = threading.Event()

    def stall(file: Any) -> None:
        file.write(begins)
        done.wait(20)

    site.answers["/"] = stall
    with fetching() as client:
        status, kind, detail = problem(client, site.url("/"))
        done.set()
        assert (status, kind) == (424, "fetch-failed")
        assert "sent nothing for 0.5 s" in detail
        assert client.app.state.runtime.memory.held == 0


def test_a_stated_length_over_the_limit_is_refused_at_once(fetching: Any, site: Site) -> None:
    site.answers["/"] = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    with fetching(max_bytes=4000) as client:
        assert problem(client, site.url("/"))[:2] == (413, "payload-too-large")


def test_a_body_without_end_is_cut_off(fetching: Any, site: Site) -> None:
    sent = 0

    def flood(file: Any) -> None:
        nonlocal sent
        file.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 2**30:
            sent += file.write(bytes(2**16))

    site.answers["/"] = flood
    with fetching(max_bytes=2**20) as client:
        assert problem(client, site.url("/"))[:2] == (413, "payload-too-large")
        assert client.app.state.runtime.memory.held == 0
    # The sockets' buffers may hold bytes beyond the limit.
    assert sent < 2**25


def test_all_images_of_a_request_share_its_limit(
    fetching: Any, site: Site, bright_cells: Cells
) -> None:
    data = bright_cells(3, kind="BMP")
    site.answers["/"] = ok(data)
    with fetching(max_bytes=2 * len(data)) as client:
        # One after the other, so that the first one fits.
        client.app.state.runtime.fetcher.places = asyncio.Semaphore(1)
        listed = [site.url("/")] * 3
        results = client.post("/detect", json={"urls": listed}).json()["results"]
        kinds = [each.get("error", {}).get("type", "faces") for each in results]
        assert kinds == ["faces", "payload-too-large", "payload-too-large"]


@pytest.mark.parametrize("several", [False, True])
def test_a_slow_server_is_bounded_by_the_requests_deadline(
    fetching: Any, site: Site, several: bool
) -> None:
    done = threading.Event()

    def crawl(file: Any) -> None:
        file.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not done.wait(0.05):
            file.write(b"x")

    site.answers["/"] = crawl
    with fetching() as client:
        started = time.monotonic()
        answer = client.post(
            "/detect", json={"url": site.url("/")}, headers={"X-Request-Timeout": "2"}
        )
        done.set()
        assert answer.status_code == 504
        assert time.monotonic() - started < 10
        assert 'sfd_fetches_total{outcome="timeout"} 1.0' in client.get("/metrics").text


def test_a_request_with_slow_hosts_leaves_places_for_others(
    fetching: Any, site: Site, bright_cells: Cells
) -> None:
    done, begun = threading.Event(), threading.Semaphore(0)

    def hang(file: Any) -> None:
        begun.release()
        done.wait(20)

    site.answers |= {"/slow": hang, "/fast": ok(bright_cells(3))}
    with fetching() as client, ThreadPoolExecutor(1) as pool:
        listed = {"urls": [site.url("/slow")] * 32}
        late = {"X-Request-Timeout": "4"}
        slow = pool.submit(client.post, "/detect", json=listed, headers=late)
        for _ in range(EACH):
            assert begun.acquire(timeout=20)
        assert client.post("/detect", json={"url": site.url("/fast")}).status_code == 200
        assert not slow.done()
        assert slow.result().status_code == 504
        done.set()
        assert len(site.heads) == EACH + 1
        # Those that never began are no fetches.
        assert f'sfd_fetches_total{{outcome="timeout"}} {EACH}.0' in client.get("/metrics").text


def test_a_fetch_ends_when_its_client_disconnects(start_server: Any, site: Site) -> None:
    asked, gone = threading.Event(), threading.Event()

    def crawl(file: Any) -> None:
        asked.set()
        file.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while True:
                file.write(b"x")
                time.sleep(0.02)
        except ConnectionError:
            gone.set()

    site.answers["/"] = crawl
    # The real resolver, and the settings as an operator sets them.
    hosts = f"localhost:{site.port},127.0.0.1:{site.port}"
    with start_server(FETCH_HOSTS=hosts, FETCH_PRIVATE="true") as server:
        body = f'{{"url": "http://127.0.0.1:{site.port}/"}}'
        connection = server.connect()
        head = f"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        assert asked.wait(20)
        connection.close()
        assert gone.wait(20)
        server.wait_for('sfd_requests_total{route="/detect",status="499"}', 1)
        server.wait_until_idle()


def test_the_systems_resolver_is_used_and_its_address_is_checked(
    start_server: Any, site: Site, bright_cells: Cells
) -> None:
    site.answers["/"] = ok(bright_cells(3))
    url = f"http://localhost:{site.port}/"
    for private, status in (("true", 200), ("false", 403)):
        with start_server(FETCH_HOSTS=f"localhost:{site.port}", FETCH_PRIVATE=private) as server:
            answer = httpx.post(f"{server.url}/detect", json={"url": url}, timeout=20)
            assert answer.status_code == status, answer.text
    assert len(site.heads) == 1


# --- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of HOST and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    file = tmp_path_factory.mktemp("tls") / "site.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
               "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
               "-keyout", str(file), "-out", f"{file}.crt"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.mark.parametrize("case", ["trusted", "unknown issuer", "another name"])
def test_the_certificate_is_checked_against_the_name(
    serve: Any, certificate: Path, bright_cells: Cells, case: str
) -> None:
    names: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.sni_callback = lambda connection, name, context: names.append(name)
    name = "other.test" if case == "another name" else HOST
    with running(Site(tls)) as site:
        site.answers["/"] = ok(bright_cells(3))

        def change(runtime: Runtime) -> None:
            assert runtime.fetcher is not None
            runtime.fetcher.resolve = Resolver()
            if case != "unknown issuer":
                runtime.fetcher.tls = ssl.create_default_context(cafile=str(certificate))

        hosts = f"{name}:{site.port}"
        with serve(change, fetch_hosts=hosts, fetch_private=True) as client:
            answer = client.post("/detect", json={"url": f"https://{name}:{site.port}/"})
    assert names == [name]
    if case == "trusted":
        assert answer.status_code == 200
        assert f"\r\nHost: {HOST}:{site.port}\r\n" in site.heads[0]
    else:
        assert (answer.status_code, answer.json()["type"]) == (424, "fetch-failed")
        assert "certificate" in answer.json()["detail"]
        assert site.heads == []


def test_the_statuses_do_not_count_as_failures_of_the_service() -> None:
    assert FetchFailed.status < 500
    assert HostNotAllowed.status < 500
