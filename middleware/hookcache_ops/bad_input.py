"""Bad input: a command raises it from wherever it is noticed, and `cli.py` says it in one line, exit status 2."""

from __future__ import annotations


class BadInput(Exception):
    """Something given cannot be used; the text says what to do."""
