"""Post one picture again and again from several clients at once, and print the results.

    python docker/load.py http://127.0.0.1:8000 photo.jpg --clients 8 --seconds 20

Prints the number of answers for each status, the throughput, and percentiles of the duration. Each
request uses a connection of its own, as if from many users, and has an X-Request-ID. It needs
only the standard library, so it also runs inside the image. Use it only on your own server.
"""

import argparse
import http.client
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlencode, urlsplit


class Outcome(TypedDict):
    """The result of one request."""

    id: str
    connected: bool
    status: int
    """0 if there was no answer."""
    error: str
    seconds: float


def post(
    host: str, port: int, path: str, body: bytes, request: str, api_key: str | None
) -> Outcome:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    outcome = Outcome(id=request, connected=False, status=0, error="", seconds=0)
    start = time.perf_counter()
    try:
        connection.connect()
        outcome["connected"] = True
        headers = {"Content-Type": "application/octet-stream", "X-Request-ID": request}
        if api_key:
            headers["X-API-Key"] = api_key
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        outcome["status"] = answer.status
    except (OSError, http.client.HTTPException) as error:
        outcome["error"] = repr(error)
        time.sleep(0.05)  # a refused connection returns at once, so do not spin
    finally:
        connection.close()
    outcome["seconds"] = time.perf_counter() - start
    return outcome


def summary(outcomes: list[Outcome], seconds: float) -> str:
    """Return the throughput and percentiles of the requests that were answered with 200."""
    counted = Counter(outcome["status"] or outcome["error"] for outcome in outcomes)
    lines = [f"{count:6} x {status}" for status, count in counted.most_common()]
    took = sorted(outcome["seconds"] for outcome in outcomes if outcome["status"] == 200)
    if took:
        p50, p90, p99 = (
            took[min(int(share * len(took)), len(took) - 1)] for share in (0.5, 0.9, 0.99)
        )
        lines.append(
            f"{len(took) / seconds:.1f} images/s, "
            f"p50 {p50 * 1000:.0f} ms, p90 {p90 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the clients until the time is up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", help="address of the service")
    parser.add_argument("photo", type=Path, help="the image file to post")
    parser.add_argument(
        "--clients", type=int, default=4, help="requests at the same time (default: 4)"
    )
    parser.add_argument(
        "--seconds", type=float, help="how long to run (default: until standard input ends)"
    )
    parser.add_argument("--model", help="name of a served model (default: the service's)")
    parser.add_argument("--api-key", help="needed if the service has API keys")
    parser.add_argument("--each", action="store_true", help="print each result as a line of JSON")
    arguments = parser.parse_args()
    address = urlsplit(arguments.url)
    path = "/detect" + (f"?{urlencode({'model': arguments.model})}" if arguments.model else "")
    body = arguments.photo.read_bytes()
    stop, answered = threading.Event(), threading.Event()
    outcomes: list[Outcome] = []

    def client(number: int) -> None:
        turn = 0
        while not stop.is_set():
            name = f"load-{number}-{turn}"
            host, port = address.hostname or "", address.port or 80
            outcome = post(host, port, path, body, name, arguments.api_key)
            outcomes.append(outcome)
            turn += 1
            if outcome["status"] == 200 and not answered.is_set():
                answered.set()
                print("answered", file=sys.stderr, flush=True)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(arguments.clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    if arguments.seconds:
        time.sleep(arguments.seconds)
    else:
        sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    if arguments.each:
        print("\n".join(map(json.dumps, outcomes)))
    else:
        print(summary(outcomes, time.perf_counter() - start))


if __name__ == "__main__":
    main()
