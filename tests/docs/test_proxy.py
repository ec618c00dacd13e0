"""The nginx example of docs/proxy.md, run by nginx itself in front of two replicas."""

import getpass
import grp
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

import httpx
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "proxy.md"
MAIN = """
user {user} {group};
pid {folder}/nginx.pid;
error_log stderr;
daemon off;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    {example}
}}
"""


@dataclass
class Replica:
    """A server that replaces the detector: its answer, and the requests that it got."""

    status: int
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[int] = field(default_factory=list)

    @contextmanager
    def serve(self) -> Iterator[int]:
        """Listen on a free port."""
        replica = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                replica.bodies.append(len(body))
                replica.headers.append({key.lower(): value for key, value in self.headers.items()})
                self.send_response(replica.status)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever).start()
            try:
                yield server.server_port
            finally:
                server.shutdown()


@dataclass(frozen=True)
class Proxied:
    """nginx, and a client that trusts it."""

    client: httpx.Client
    draining: Replica
    serving: Replica


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]
) -> Iterator[Proxied]:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    openssl = shutil.which("openssl")
    if not nginx or not openssl:
        missing("nginx or openssl is not installed (Debian: apt-get install nginx-light openssl)")
    folder = tmp_path_factory.mktemp("nginx")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = "faces.example.org"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", folder / "key", "-out", folder / "pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "users").write_text("alice:{PLAIN}secret\n")
    folder.chmod(0o755)
    draining, serving = Replica(503), Replica(200)
    with ExitStack() as stack:
        ports = [stack.enter_context(replica.serve()) for replica in (draining, serving)]
        [example] = re.findall(r"```nginx\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        for written, here in {
            "127.0.0.1:8000": f"127.0.0.1:{ports[0]}",
            "127.0.0.1:8001": f"127.0.0.1:{ports[1]}",
            "listen 443": f"listen 127.0.0.1:{port}",
            "/etc/ssl/faces.example.org.pem": str(folder / "pem"),
            "/etc/ssl/private/faces.example.org.key": str(folder / "key"),
            "/etc/nginx/faces.htpasswd": str(folder / "users"),
        }.items():
            assert written in example
            example = example.replace(written, here)
        config = folder / "nginx.conf"
        user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
        config.write_text(MAIN.format(user=user, group=group, folder=folder, example=example))
        process = subprocess.Popen(
            [nginx, "-p", folder, "-e", "stderr", "-c", config], stderr=subprocess.PIPE, text=True
        )
        try:
            trust = ssl.create_default_context(cafile=str(folder / "pem"))
            with httpx.Client(
                base_url=f"https://127.0.0.1:{port}", verify=trust, headers={"Host": name}
            ) as client:
                _wait(port, process)
                yield Proxied(client, draining, serving)
        finally:
            process.terminate()
            process.communicate(timeout=10)


def _wait(port: int, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            alive = process.poll() is None and time.monotonic() < until
            assert alive, process.communicate()[1]
            time.sleep(0.1)


def _post(proxied: Proxied, body: bytes = b"image") -> httpx.Response:
    return proxied.client.post(
        "/detect",
        content=body,
        auth=("alice", "secret"),
        extensions={"sni_hostname": "faces.example.org"},
    )


def test_proxy_refuses_a_client_without_password(proxied: Proxied) -> None:
    answer = proxied.client.post(
        "/detect", content=b"image", extensions={"sni_hostname": "faces.example.org"}
    )
    assert answer.status_code == 401


def test_post_to_a_draining_replica_is_answered_by_the_other(proxied: Proxied) -> None:
    assert [_post(proxied).status_code for _ in range(6)] == [200] * 6
    assert proxied.draining.bodies


def test_overload_of_all_replicas_is_a_503_and_the_next_request_succeeds(
    proxied: Proxied,
) -> None:
    proxied.serving.status = 503
    assert [_post(proxied).status_code for _ in range(4)] == [503] * 4
    proxied.serving.status = 200
    assert _post(proxied).status_code == 200


def test_proxy_keeps_its_password_and_passes_the_request_id_on(proxied: Proxied) -> None:
    assert _post(proxied).status_code == 200
    assert "authorization" not in proxied.serving.headers[-1]
    assert len(proxied.serving.headers[-1]["x-request-id"]) == 32


def test_the_proxy_says_the_clients_address_and_not_what_the_client_says(proxied: Proxied) -> None:
    proxied.client.post(
        "/detect",
        content=b"image",
        auth=("alice", "secret"),
        headers={"X-Forwarded-For": "10.9.8.7"},
        extensions={"sni_hostname": "faces.example.org"},
    )
    assert proxied.serving.headers[-1]["x-forwarded-for"] == "127.0.0.1"


def test_body_at_the_services_limit_passes_and_a_far_larger_one_does_not(
    proxied: Proxied,
) -> None:
    assert _post(proxied, bytes(20 * 2**20)).status_code == 200
    assert proxied.serving.bodies[-1] == 20 * 2**20
    assert _post(proxied, bytes(33 * 2**20)).status_code == 413


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/metrics//", "/metrics/targets"])
def test_the_proxy_hides_the_metrics(proxied: Proxied, path: str) -> None:
    answer = proxied.client.get(path, extensions={"sni_hostname": "faces.example.org"})
    assert answer.status_code == 404
