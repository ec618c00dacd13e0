"""Downloads one file over HTTP to disk. Keeps it only if its size and hash are as expected."""

import hashlib
import http.client
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from tqdm import tqdm

from store.catalog import Download, allowed, is_loopback
from store.model import ModelError

TIMEOUT_S = 30.0
"""How long to wait for the server's next bytes, in seconds."""
_CHUNK = 1 << 16


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to addresses that a catalog may contain."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            allowed(newurl)
        except ValueError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(download: Download, path: Path, *, timeout: float = TIMEOUT_S) -> None:
    """Download a file to `path`. Raises ModelError and leaves no file if its size or hash is wrong.

    Downloads are not resumed: a partial file is always removed. The caller handles an OSError of
    the disk (no space, no permission, the file already exists).
    """
    with _open(download, timeout) as response, path.open("xb") as file:
        try:
            _receive(response, download, file)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _receive(response: http.client.HTTPResponse, download: Download, file: IO[bytes]) -> None:
    digest = hashlib.sha256()
    received = 0
    with tqdm(
        total=download.size,
        desc=download.file,
        unit="B",
        unit_scale=True,
        disable=None,
        leave=False,
    ) as progress:
        while chunk := _read(response, download):
            received += len(chunk)
            if received > download.size:
                raise _failure(
                    download, f"is longer than the {download.size} bytes that the catalog states"
                )
            digest.update(chunk)
            file.write(chunk)
            progress.update(len(chunk))
    if received < download.size:
        raise _failure(download, f"ended after {received} of {download.size} bytes; try again")
    if digest.hexdigest() != download.sha256:
        raise _failure(
            download,
            f"has sha256 {digest.hexdigest()}, not {download.sha256} as the catalog states; the "
            "file was changed and is not used",
        )


def _open(download: Download, timeout: float) -> http.client.HTTPResponse:
    handlers: list[urllib.request.BaseHandler] = [_Redirects()]
    if is_loopback(urlsplit(download.url)):
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(download.url, headers={"User-Agent": "sfd"})
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener(*handlers).open(
            request, timeout=timeout
        )
    except urllib.error.HTTPError as error:
        with error:
            raise _failure(download, f"the server answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _failure(download, _reason(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failure(download, _reason(error)) from None
    return response


def _read(response: http.client.HTTPResponse, download: Download) -> bytes:
    try:
        return response.read(_CHUNK)
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failure(download, _reason(error)) from None


def _reason(error: object) -> str:
    match error:
        case TimeoutError():
            return "the server did not answer in time; try again"
        case ConnectionRefusedError():
            return "the connection was refused"
        case socket.gaierror():
            return f"the host was not found ({error.strerror})"
        case ssl.SSLError():
            return f"the secure connection failed ({error.reason or error})"
        case OSError():
            return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__


def _failure(download: Download, reason: str) -> ModelError:
    return ModelError(f"{download.url}: {' '.join(reason.split())}")
