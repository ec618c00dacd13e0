"""Fuzzes the reading and translating of a prototxt.

Every text is explained, with or without problems, or refused with an SfdError in one message.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from harness import instrumented, main

with instrumented():
    from convert.conversion import explain_file
    from convert.layers.registry import handlers
    from convert.options import Options
    from sfd.errors import SfdError

    # They are imported when they are first asked for.
    handlers()

FOLDER = TemporaryDirectory(prefix="sfd-fuzz-")
PROTOTXT = Path(FOLDER.name) / "deploy.prototxt"


def one(data: bytes) -> None:
    """Explain one prototxt."""
    PROTOTXT.write_bytes(data)
    try:
        explanation = explain_file(PROTOTXT, None, Options())
    except SfdError as error:
        assert str(error).strip(), "an error without a message"
        return
    assert str(explanation)


if __name__ == "__main__":
    main(one)
