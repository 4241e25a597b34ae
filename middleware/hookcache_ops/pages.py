"""
A PDF as the host's page images: 150 dpi, shrunk to fit 951 by 1,268 pixels, JPEG of quality 95.

The same file gives the same bytes on one installation of pypdfium2 and Pillow; another release of either may change
them, as a new container image of the host may. No time stamp and no EXIF is written.
Source: the host's behaviour, "Image bytes".
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pypdfium2  # type: ignore[import-untyped]
from PIL import Image

from hookcache_ops.bad_input import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DPI = 150
FIT_WIDTH, FIT_HEIGHT = 951, 1268
JPEG_QUALITY = 95
RENDERED_PIXELS = 50_000_000
"""A page that would be larger at 150 dpi, such as a plan, is rendered at the size that it is shrunk to anyway."""

POINTS_PER_INCH = 72


class UnreadableDocumentError(BadInput):
    """A document cannot be turned into pages; the text names it and the remedy."""


@dataclass(frozen=True, slots=True)
class PageImage:
    """One page of a document, counted from 1, as the JPEG that the host would upload."""

    document: str
    number: int
    width: int
    height: int
    jpeg: bytes


def page_count(path: Path) -> int:
    """
    How many pages `render` gives for this file.

    Raises:
        UnreadableDocumentError: as `render`.
    """
    with _opened(path) as document:
        return len(document)


def render(path: Path) -> Iterator[PageImage]:
    """
    The pages of a PDF in order, one at a time.

    Raises:
        UnreadableDocumentError: no such file, no PDF, damaged, protected by a password, or without pages.
    """
    with _opened(path) as document:
        for index in range(len(document)):
            try:
                yield _page_image(path.name, index + 1, document[index])
            except pypdfium2.PdfiumError as error:
                raise UnreadableDocumentError(
                    f"{path}: page {index + 1} cannot be rendered ({_reason(error)}); print the file to a new PDF"
                ) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.exists():
        raise UnreadableDocumentError(f"{path}: no such file; give the path of a PDF")
    if path.is_dir():
        raise UnreadableDocumentError(f"{path}: a folder; give the path of one PDF in it")
    try:
        document = pypdfium2.PdfDocument(path.read_bytes())
    except OSError as error:
        raise UnreadableDocumentError(f"{path}: {error.strerror or error}; check the file's permissions") from error
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            remedy = "protected by a password; store a copy without one (qpdf --password=... --decrypt in.pdf out.pdf)"
        else:
            remedy = f"not a PDF, or damaged ({_reason(error)}); give a PDF that opens in a viewer"
        raise UnreadableDocumentError(f"{path}: {remedy}") from error
    try:
        if len(document) == 0:
            raise UnreadableDocumentError(f"{path}: has no pages; give a PDF with at least one")
        yield document
    finally:
        document.close()


def _page_image(document: str, number: int, page: Any) -> PageImage:
    width_points, height_points = page.get_size()
    if not (width_points > 0 and height_points > 0):
        raise UnreadableDocumentError(f"{document}: page {number} has no size; print the file to a new PDF")
    scale = DPI / POINTS_PER_INCH
    if width_points * scale * height_points * scale > RENDERED_PIXELS:
        scale = min(FIT_WIDTH / width_points, FIT_HEIGHT / height_points)
    image = page.render(scale=scale).to_pil().convert("RGB")
    image.thumbnail((FIT_WIDTH, FIT_HEIGHT), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return PageImage(document, number, image.width, image.height, file.getvalue())


def _reason(error: Exception) -> str:
    """PDFium's own words, without those that its binding puts around them."""
    return str(error).rpartition("PDFium: ")[2].rstrip(".)") or type(error).__name__
