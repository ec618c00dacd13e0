"""One client's connection, with limits for clients that are too slow or don't speak HTTP.

The app limits a request from the end of its head to its answer. These limits cover what the app
doesn't see. h11 holds at most 64 KiB of a head, of a chunk's header and of trailers, and one
pipelined request at a time; httptools bounds none of them.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.access import ip_address

HEAD_S = 20.0
"""Most seconds for the head of a request, from the connection or from the request's first byte."""
STALL_S = 30.0
"""In this many seconds a client must read at least LEAST_BYTES of a waiting answer."""
LEAST_BYTES = 256 * 1024
HEAD_BYTES = 64 * 1024
"""Largest head of a request."""


class Connection(H11Protocol):
    """uvicorn's connection with these limits; a connection that exceeds them is closed."""

    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first request."""
        super().connection_made(transport)
        if self.client is not None:
            # A socket for IPv4 and IPv6 has ::ffff:127.0.0.1, which uvicorn does not take for the
            # proxy 127.0.0.1.
            self.client = (ip_address(self.client[0]), self.client[1])
        self._time_head()

    def data_received(self, data: bytes) -> None:
        """Feed the parser. Afterwards a request has begun, or its head is still incomplete."""
        super().data_received(data)
        self._time_head()

    def on_response_complete(self) -> None:
        """Start the next request, or make sure that the last bytes of the answer are sent."""
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._time_stall()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, whether or not its client has read the last answer."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self._time_stall()

    def pause_writing(self) -> None:
        """Called when the client reads an answer too slowly and its buffer is full."""
        super().pause_writing()
        self._time_stall()

    def resume_writing(self) -> None:
        """Called when the client has read most of the buffer."""
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._time_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        super().connection_lost(exc)
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answer 400 to input that is not HTTP/1.1, unless an answer has already begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _time_stall(self) -> None:
        if self._stall_timer is not None:
            return
        waiting = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(STALL_S, self._check_stall, waiting)

    def _check_stall(self, before: int) -> None:
        self._stall_timer = None
        waiting = self.transport.get_write_buffer_size()
        if waiting and before - waiting < LEAST_BYTES:
            self.transport.abort()
        elif waiting:
            self._time_stall()

    def _unsupported_upgrade_warning(self) -> None:
        """Do not log: clients that offer HTTP/2 (Upgrade: h2c) are answered with HTTP/1.1."""

    def _time_head(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering or self.transport.is_closing():
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self.transport.abort)
