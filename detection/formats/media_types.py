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
        ("icon", rb"\0\0[\x01\x02]\0[^\0].{3}[\0\x01]|icns"),
        # Version 0 to 5, packed or not, 1 to 8 bits, a window that begins near zero.
        ("PCX", rb"\x0a[\0\x02-\x05][\0\x01][\x01\x02\x04\x08]"),
        # Targa has no mark at its beginning: any length of a name, a colour map or not, the kind
        # of picture, the colour map (none, or with entries of 15 to 32 bits), and after the origin
        # and the size the bits of a pixel and their order.
        (
            "Targa",
            rb".(\0[\x02\x03\x0a\x0b]\0{5}|\x01[\x01\x09]..(?!\0\0)..[\x0f\x10\x18\x20])"
            rb".{8}[\x08\x0f\x10\x18\x20][\x00-\x3f]",
        ),
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
_TARGA_END = b"TRUEVISION-XFILE.\0"
"""The end of a Targa file of version 2."""
HEAD = 2048
"""How many bytes are needed to recognise the kind."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def kind(data: bytes) -> str | None:
    """The kind of content of `data`, such as "JPEG" or "PDF"; None if it is not recognised."""
    head = data[:HEAD].removeprefix(_BYTE_ORDER_MARK)
    for name, signature in _SIGNATURES:
        if signature.match(head):
            return name
    if data.endswith(_TARGA_END):
        return "Targa"
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
