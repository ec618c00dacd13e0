"""Log lines as JSON or as text, each with the id of its request."""

import json
import logging
import re
import sys
import threading
import time
from contextvars import ContextVar
from typing import Any

from service.log_writer import LogWriter
from sfd.terminal import printable

log = logging.getLogger(__name__)

STDERR = 2
"""The descriptor of standard error."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that this task answers; empty outside of one."""


_LINE_ENDS = re.compile("[\x7f-\x9f\u2028\u2029]")
"""Characters that JSON leaves unescaped, but that end a line or control a terminal."""


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; `extra={"fields": {...}}` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        """The object in one line."""
        line: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := request_id.get():
            line["request_id"] = current
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = json.dumps(line, ensure_ascii=False, default=str)
        # Otherwise a client's path could break a log line in two for some readers.
        return _LINE_ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class ConsoleFormatter(logging.Formatter):
    """A record as text; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, and the fields as key=value."""
        fields = {"request_id": request_id.get()} | getattr(record, "fields", {})
        shown = " ".join(f"{key}={value}" for key, value in fields.items() if value != "")
        # So that a client's path can't forge a log line.
        message = printable(f"{record.getMessage()}  {shown}".rstrip())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = f"{clock} {record.levelname.lower():7} {message}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure(log_format: str, log_level: str) -> LogWriter:
    """Send the lines of all loggers, including the web server's, to stderr in one format.

    Python's warnings and the exceptions of threads become lines, too. The writer's `flush` must be
    called before `os._exit`; a normal exit calls it.
    """
    writer = LogWriter(STDERR)
    writer.setFormatter(JsonFormatter() if log_format == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers = [writer]
    root.setLevel(log_level.upper())
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_exception
    sys.unraisablehook = _log_unraisable
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    # What is wrong with a form is in the access log.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    # Our own access log has the request id; uvicorn's would add a second line without it.
    logging.getLogger("uvicorn.access").disabled = True
    return writer


def _log_thread_exception(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None and found.exc_type is not SystemExit:
        name = found.thread.name if found.thread else "?"
        log.error("the thread %s failed", name, exc_info=found.exc_value)


def _log_unraisable(found: "sys.UnraisableHookArgs") -> None:
    log.error("%s: %r", found.err_msg or "ignored exception in", found.object,
              exc_info=found.exc_value)  # fmt: skip


def _utc(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
