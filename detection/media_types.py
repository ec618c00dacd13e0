"""Recognises the kind of a file from its first bytes."""

import re

READ = ("JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF", "AVIF")
"""The image formats that the service reads."""

_SIGNATURES: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (kind, re.compile(pattern, re.DOTALL | re.IGNORECASE if kind in ("SVG", "HTML") else re.DOTALL))
    for kind, pattern in (
        ("JPEG", rb"\xff\xd8\xff"),
        ("PNG", rb"\x89PNG\r\n\x1a\n"),
        ("WebP", rb"RIFF....WEBP"),
        ("GIF", rb"GIF8[79]a"),
        ("TIFF", rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0"),
        # The major brand may be a general one; AVIF's is then among the compatible brands after it.
        ("AVIF", rb"....ftyp(avi[fs]|(mif1|msf1|miaf)....(....){0,20}?avi[fs])"),
        ("BMP", rb"BM"),
        ("HEIC", rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)"),
        ("video", rb"....(ftyp|moov|mdat)|\x1aE\xdf\xa3|RIFF....AVI |FLV\x01|\0\0\x01[\xb3\xba]"),
        ("audio", rb"RIFF....WAVE|ID3|fLaC|OggS"),
        ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
        ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL "),
        ("Photoshop", rb"8BPS"),
        ("icon or Targa", rb"\0\0[\x01\x02]\0|icns"),
        ("PDF", rb"%PDF"),
        ("PostScript", rb"%!PS|\xc5\xd0\xd3\xc6"),
        ("DirectDraw", rb"DDS "),
        ("QOI", rb"qoif"),
        ("OpenEXR", rb"v/1\x01"),
        ("Radiance", rb"#\?RADIANCE|#\?RGBE"),
        ("Windows metafile", rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF"),
        ("Blizzard texture", rb"BLP[12]"),
        ("FLIC animation", rb"....[\x11\x12]\xaf"),
        ("SGI", rb"\x01\xda[\0\x01][\x01\x02]"),
        ("portable bitmap", rb"P[1-7fF][\s#]"),
        ("zip archive", rb"PK\x03\x04"),
        ("gzip", rb"\x1f\x8b"),
        ("SVG", rb"\s*(<\?xml[^>]*>)?\s*(<!--.{,500}?-->\s*)?(<!DOCTYPE svg|<svg)"),
        ("HTML", rb"\s*(<!DOCTYPE html|<html)"),
    )
)
HEAD = 2048
"""How many bytes are needed to recognise the kind."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def kind(data: bytes) -> str | None:
    """The kind of content of `data`, such as "JPEG" or "PDF"; None if it is not recognised."""
    head = data[:HEAD].removeprefix(_BYTE_ORDER_MARK)
    for name, signature in _SIGNATURES:
        if signature.match(head):
            return name
    return "text" if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    """Whether all bytes are printable UTF-8; the last character may be cut off."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and all(c.isprintable() or c.isspace() for c in text)
