"""The names for annotations that stand in for `typing` while nobody checks types."""

import ast
import typing
from pathlib import Path

import pytest

from hookcache import hints

NAMES = [
    alias.name
    for node in ast.walk(ast.parse(Path(hints.__file__).read_text()))
    if isinstance(node, ast.ImportFrom) and node.module == "typing"
    for alias in node.names
]


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_one_of_typing_and_has_a_stand_in(name):
    """G13: type checkers see the one, a start of a function the other."""
    assert hasattr(typing, name)
    assert hasattr(hints, name)


def test_what_is_made_with_them_works_without_typing():
    """G13: names for ids give what they are given, annotations keep their readers, what is in brackets is not looked at."""
    identifier = hints.NewType("identifier", int)
    kind = hints.TypeVar("kind", bound=int)

    class Held(hints.Generic[kind]):
        __slots__ = ("it",)

    class Protocol(hints.Protocol):
        def ask(self) -> int: ...

    given = object()
    held = Held[int]()
    assert (given, (min, max)) == (identifier(given), hints.Annotated[int, min, max].__metadata__)
    assert (False, True) == (hasattr(held, "__dict__"), issubclass(Protocol, hints.Literal["a", "b"]))
    assert min is hints.overload(min)
    assert min is hints.dataclass_transform(frozen_default=True)(min)
