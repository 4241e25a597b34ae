"""
The OCR engines behind one interface: a page image in, its pieces of text with place and confidence out.

RapidOCR brings its models in its wheel; tesseract is the system's program. Neither is imported or started before the
first page.
"""

import csv
import importlib.util
import os
import shutil
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

RAPIDOCR = "rapidocr"
TESSERACT = "tesseract"
ENGINES = ("auto", RAPIDOCR, TESSERACT)
REMEDY = "pip install rapidocr-onnxruntime (Python 3.12 or older), or install the system's tesseract-ocr package"
TESSERACT_SECONDS = 240.0  # of one page; below the timeout that hooks are deployed with


class NoEngineError(Exception):
    """There is nothing here that can read a page."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that the engine found in one place. Edges in pixels from the left and the top; confidence in percent."""

    text: str
    confidence: float
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Page:
    """What was read from one image of `width` by `height` pixels; no pieces where it is blank."""

    width: int
    height: int
    pieces: tuple[Piece, ...]


class OcrEngine(Protocol):
    """Reads page images; the same bytes give the same page."""

    name: str

    def read(self, image: bytes) -> Page:
        """
        Raises:
            ValueError: the bytes are no image.
        """


def choose_engine(wanted: str, threads: int) -> OcrEngine:
    """
    The engine named `wanted`, one of `ENGINES`; with `auto` the first one installed.

    Raises:
        NoEngineError: it is not installed, or none is; the message names the remedy.
    """
    if wanted != TESSERACT and importlib.util.find_spec("rapidocr_onnxruntime"):
        return RapidOcr(threads)
    program = shutil.which("tesseract")
    if wanted != RAPIDOCR and program:
        return Tesseract(program, threads)
    raise NoEngineError(f"nothing that OCR_ENGINE={wanted} allows is installed: {REMEDY}")


class RapidOcr:
    """PP-OCR models in ONNX Runtime, on the CPU."""

    def __init__(self, threads: int) -> None:
        # Before the import: OpenMP and BLAS read their limits when they are loaded.
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        import cv2
        from rapidocr_onnxruntime import RapidOCR  # type: ignore[import-untyped]

        cv2.setNumThreads(threads)
        self.name = f"rapidocr-onnxruntime-{version('rapidocr-onnxruntime')}"
        # Pages come upright, so that the direction of each line need not be asked.
        self._ocr: Any = RapidOCR(use_cls=False, intra_op_num_threads=threads, inter_op_num_threads=1)

    def read(self, image: bytes) -> Page:
        import cv2
        import numpy

        pixels = cv2.imdecode(numpy.frombuffer(image, numpy.uint8), cv2.IMREAD_COLOR) if image else None
        if pixels is None:
            raise ValueError(f"{len(image)} bytes")
        height, width = pixels.shape[:2]
        found, _ = self._ocr(pixels)
        pieces = []
        for corners, text, score in found or ():
            across, down = [float(x) for x, _ in corners], [float(y) for _, y in corners]
            pieces.append(Piece(text, 100 * float(score), min(across), min(down), max(across), max(down)))
        return Page(width, height, tuple(pieces))


class Tesseract:
    """The tesseract program, asked for tab-separated words."""

    def __init__(self, program: str, threads: int) -> None:
        self._program = program
        self._environment = {**os.environ, "OMP_THREAD_LIMIT": str(threads)}
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
        self.name = "-".join((told.stdout or told.stderr).split()[:2])

    def read(self, image: bytes) -> Page:
        done = subprocess.run(  # noqa: S603 - the program found on PATH, no shell
            [self._program, "stdin", "stdout", "tsv"],
            input=image,
            capture_output=True,
            timeout=TESSERACT_SECONDS,
            env=self._environment,
            check=False,
        )
        if done.returncode != 0:
            raise ValueError(f"{len(image)} bytes")
        return _page_of(done.stdout.decode("utf-8", "replace"))


def _page_of(table: str) -> Page:
    """Tesseract's words joined to lines: a level of 1 is the page, 5 a word; words share block, paragraph and line."""
    width = height = 0
    lines: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["level"] == "1":
            width, height = int(row["width"]), int(row["height"])
        elif row["level"] == "5" and row["text"].strip():
            lines[row["block_num"], row["par_num"], row["line_num"]].append(row)
    if not (width and height):
        raise ValueError("no page")
    return Page(width, height, tuple(_line_of(words) for words in lines.values()))


def _line_of(words: list[dict[str, str]]) -> Piece:
    text = " ".join(word["text"] for word in words)
    confidence = sum(max(0.0, float(word["conf"])) for word in words) / len(words)
    left, top = min(int(word["left"]) for word in words), min(int(word["top"]) for word in words)
    right = max(int(word["left"]) + int(word["width"]) for word in words)
    bottom = max(int(word["top"]) + int(word["height"]) for word in words)
    return Piece(text, confidence, left, top, right, bottom)
