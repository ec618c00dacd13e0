"""The deadline of a request: from the service's setting or the client's own header."""

import asyncio

from starlette.requests import Request

from service.errors import InvalidParameter

HEADER = "X-Request-Timeout"
"""Seconds from the request's arrival in which the client wants its answer."""


def deadline_of(request: Request, timeout_s: float) -> float:
    """The deadline of a request that just arrived, as a time of the event loop's clock.

    The client can only shorten `timeout_s`. Raises InvalidParameter for a header that is not a
    number above 0.
    """
    now = asyncio.get_running_loop().time()
    text = request.headers.get(HEADER)
    if text is None:
        return now + timeout_s
    try:
        wanted = float(text)
    except ValueError:
        wanted = 0.0
    if not wanted > 0:
        raise InvalidParameter(f"{HEADER}: must be a number of seconds above 0")
    return now + min(wanted, timeout_s)
