"""Post one picture again and again from several clients, and tell what became of each request.

    python load.py URL PHOTO CLIENTS <STDIN

It stops when its standard input ends, after the requests under way.

Prints one JSON object a line: `id`, `status` (0 without an answer), `error`, `connected`.
Standard library only, so that it also runs inside the service's image.
"""

import http.client
import itertools
import json
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit


def post(host: str, port: int, body: bytes, request: str) -> dict[str, object]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    outcome: dict[str, object] = {"id": request, "status": 0, "error": "", "connected": False}
    try:
        connection.connect()
        outcome["connected"] = True
        headers = {"Content-Type": "image/jpeg", "X-Request-ID": request}
        connection.request("POST", "/detect", body, headers)
        answer = connection.getresponse()
        answer.read()
        outcome["status"] = answer.status
    except (OSError, http.client.HTTPException) as error:
        outcome["error"] = repr(error)
        time.sleep(0.05)  # a refused connection costs nothing: do not spin
    finally:
        connection.close()
    return outcome


def main() -> None:
    """Run the clients until standard input ends."""
    url, photo, clients = sys.argv[1:]
    address = urlsplit(url)
    body = Path(photo).read_bytes()
    stop = threading.Event()
    printing = threading.Lock()

    def client(number: int) -> None:
        for turn in itertools.count():
            if stop.is_set():
                return
            outcome = post(
                address.hostname or "", address.port or 80, body, f"load-{number}-{turn}"
            )
            with printing:
                print(json.dumps(outcome), flush=True)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(int(clients))]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
