"""What an examination comes to: findings with their remedies, and what could not be looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad a finding is; a note alone leaves the exit status 0."""

    ERROR = "error"  # requests fail, or nothing is ever answered from cache
    WARNING = "warning"  # it works, at a cost or a risk that nobody chose
    NOTE = "note"  # meant by some, a surprise to others


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `id` is stable, for scripts; both texts are for people."""

    id: str
    severity: Severity
    wrong: str
    remedy: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Unseen(Exception):
    """
    A check could not be done: what is missing for it.

    Args:
        what: the thing that was not seen, in words.
        needed: what would let it be seen, most often an IAM action.
    """

    def __init__(self, what: str, needed: str) -> None:
        super().__init__(what, needed)
        self.what, self.needed = what, needed

    def __str__(self) -> str:
        return f"could not check {self.what}: {self.needed}"


def error(about: str, wrong: str, remedy: str) -> Finding:
    return Finding(about, Severity.ERROR, wrong, remedy)


def warning(about: str, wrong: str, remedy: str) -> Finding:
    return Finding(about, Severity.WARNING, wrong, remedy)


def note(about: str, wrong: str, remedy: str) -> Finding:
    return Finding(about, Severity.NOTE, wrong, remedy)
