"""
Warnings of a start and of times that do not fit, beside the receipts: the logger `hookcache`, at the level of `POWERTOOLS_LOG_LEVEL`.

Nothing less than a warning is ever logged here, and none holds content of a request or an answer (P36).
"""

from __future__ import annotations

from collections.abc import Mapping

LEVEL = "POWERTOOLS_LOG_LEVEL"


def warn(environ: Mapping[str, str], message: str, *values: str) -> None:
    """
    One line, unless the operator's level in `environ` is above a warning; a level that is none changes nothing.

    Source: Powertools for AWS Lambda (Python), "Logger": the variable and its words.
    """
    import logging  # 5 ms, paid by whoever has something to be warned of

    logger = logging.getLogger("hookcache")
    level = environ.get(LEVEL, "").strip().upper()
    if level in logging.getLevelNamesMapping():
        logger.setLevel(level)
    logger.warning(message, *values)
