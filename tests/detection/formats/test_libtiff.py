"""libtiff writes nothing to standard error."""

import io
import sys

import pytest
from PIL import Image

from detection import images
from detection.errors import RequestError
from detection.formats import libtiff


def broken() -> bytes:
    """A TIFF file with an unknown tag and broken data: libtiff has something to say about both."""
    out = io.BytesIO()
    picture = Image.linear_gradient("L")
    picture.save(out, "TIFF", compression="tiff_deflate", tiffinfo={50_000: b"abcde"})
    data = bytearray(out.getvalue())
    data[200:260] = b"\xff" * 60
    return bytes(data)


def test_the_bundled_libtiff_is_found() -> None:
    if sys.platform not in ("linux", "darwin"):
        pytest.skip("libraries are found in another way")
    assert libtiff.silence()


def test_a_broken_file_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RequestError):
        images.decode(broken(), max_pixels=10**6, background=(0, 0, 0))
    assert capfd.readouterr() == ("", "")
