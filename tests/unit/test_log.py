"""Warnings of a start, and the operator's word on how much is to be heard."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from hookcache.log import LEVEL, warn
from hookcache.settings import Settings

SETTINGS = {"HOOKCACHE_TABLE": "entries", "HOOKCACHE_SECRET": "s" * 32, "HOOKCACHE_TYPO": "1"}


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """The logger as it was, whatever a test sets."""
    logger = logging.getLogger("hookcache")
    level = logger.level
    yield logger
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        (None, 1),
        ("", 1),
        ("DEBUG", 1),
        ("info", 1),
        (" WARNING ", 1),
        ("ERROR", 0),
        ("critical", 0),
        ("LOUD", 1),
        ("30", 1),
    ],
)
def test_a_warning_of_a_start_is_heard_at_its_level(level, heard, caplog):
    """P52: as Powertools has it; a level that is none silences nothing."""
    environ = SETTINGS | ({} if level is None else {LEVEL: level})
    Settings.of(environ)

    assert ["HOOKCACHE_TYPO is no setting of hookcache and is ignored"] * heard == caplog.messages


def test_without_a_level_of_its_own_the_program_s_stands(logger, caplog):
    """A decorated function may have set its loggers itself."""
    logger.setLevel(logging.ERROR)
    warn({}, "nobody hears %s", "this")

    assert [] == caplog.messages
