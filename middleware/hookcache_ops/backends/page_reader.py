"""What the test servers read page images with: the engine of functions/ocr, loaded once and used by one thread at a time."""

from __future__ import annotations

import importlib.util
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

OCR_FOLDER = Path(__file__).resolve().parents[3] / "functions" / "ocr"


@dataclass(frozen=True, slots=True)
class Read:
    """What one image holds, and the tokens that functions/ocr counts for it (pixels / 750 in, characters / 4 out)."""

    text: str
    input_tokens: int
    output_tokens: int


class PageReader:
    """Reads page images; the engine is loaded by the first one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engine: Any = None
        self._reply: Any = None

    def read(self, image: bytes) -> Read:
        """
        Raises:
            ValueError: the bytes are no image.
        """
        with self._lock:
            if self._engine is None:
                engines, reply = _module("ocr_engines"), _module("ocr_reply")
                self._engine, self._reply = engines.choose_engine("", 1), reply.reply
            answer = self._reply({}, [self._engine.read(image)], self._engine.name)
        usage = answer["usage"]
        text = answer["output"]["message"]["content"][0]["text"]
        return Read(text, usage["inputTokens"], usage["outputTokens"])


def _module(name: str) -> ModuleType:
    """A module of functions/ocr, which is no package; its own imports find it under the same name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, OCR_FOLDER / f"{name}.py")
        if spec is None or spec.loader is None:
            raise ImportError(f"{OCR_FOLDER} holds no {name}.py: run this in a checkout")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
