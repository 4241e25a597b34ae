"""functions/ocr: reads the page image itself, with RapidOCR or tesseract."""

from __future__ import annotations

from hookcache_ops.backends import Backend

BACKEND = Backend(name="ocr", environment=lambda _server, _aws: {}, units=("inputTokens", "outputTokens", "pages"))
