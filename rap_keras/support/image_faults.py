"""Finds out from the first bytes why a file cannot be read as an image."""

import os
import re
from typing import BinaryIO

from PIL import features

_BEGIN = 1024  # bytes to inspect
# Formats that Pillow reads, by their first bytes. If Pillow rejects such a file, it is damaged.
_READ = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
# Other formats, by their first bytes.
_OTHERS = {
    rb"....ftyp(heic|heix|hevc|heim|heis|mif1|msf1)": "a HEIC image",
    rb"(\xff\x0a|\0\0\0\x0cJXL )": "a JPEG XL image",
    rb"%PDF": "a PDF document",
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg": "an SVG drawing",
    rb"\s*<(!doctype html|html)": "a web page",
    rb"PK\x03\x04": "a ZIP archive",
}
# Formats that only some builds of Pillow read.
_BUILT = {rb"....ftyp(avif|avis)": ("AVIF", "avif"), rb"RIFF....WEBP": ("WebP", "webp")}
_COPY = "copy or download it again, or leave it out"


def fault_of(file: BinaryIO, error: Exception, recognised: bool) -> str:
    """Describes what is wrong with a file that Pillow rejects, as the end of a sentence.

    `recognised` is whether Pillow recognised the format and only failed to read the pixels.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    begin = file.read(_BEGIN)
    if not size:
        return f"is empty, a file of 0 bytes: {_COPY}"
    if not begin.strip(b"\0"):
        return f"begins with zeros instead of an image header, as after a failed copy: {_COPY}"
    if begin.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the image: fetch it with git lfs pull"
    if not recognised:
        others = [what for pattern, what in _OTHERS.items() if _matches(pattern, begin)]
        others += [f"a file of {name}" for name, there in _built(begin) if not there]
        if others:
            return f"is {others[0]}, which cannot be read here: save it as PNG or JPEG"
    known = [name for start, name in _READ.items() if begin.startswith(start)]
    known += [name for name, _ in _built(begin)]
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return f"is truncated: the file ends before its pixels do: {_COPY}"
    if recognised or known:
        what = f"an image ({known[0]})" if known else "an image"
        return f"is {what} that is truncated or damaged: {_COPY}"
    return "is not in an image format that can be read: replace it, or leave it out"


def _matches(pattern: bytes, begin: bytes) -> bool:
    return re.match(pattern, begin, re.DOTALL | re.IGNORECASE) is not None


def _built(begin: bytes) -> list[tuple[str, bool]]:
    """Returns the format of a file, if it is one of `_BUILT`, and whether Pillow can read it here."""
    found = [names for pattern, names in _BUILT.items() if _matches(pattern, begin)]
    return [(name, bool(features.check(feature))) for name, feature in found]
