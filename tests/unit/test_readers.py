"""Readers of single settings: what each takes, what it makes of it, and what it says of the rest."""

import pytest

from hookcache import readers
from hookcache.settings import MOST_MEMORY_BYTES

NUMBER, ABOVE = readers.number(0, 10), readers.number(0, 10, above=True)
DIGITS, COUNT = readers.spelt(readers.number(0, 10**6)), readers.spelt(readers.whole(1, 10**6))
LIST = readers.texts(tuple, most=2)


@pytest.mark.parametrize(
    ("reader", "given", "meant"),
    [
        (readers.text("[a-z]*", 1, 3), "abc", "abc"),
        (NUMBER, 0, 0.0),
        (NUMBER, 10, 10.0),
        (ABOVE, 0.5, 0.5),
        (DIGITS, " 60 ", 60.0),
        (DIGITS, ".5", 0.5),
        (DIGITS, "+0.5", 0.5),
        (DIGITS, "6e4", 60_000.0),
        (DIGITS, "6E-1", 0.6),
        (COUNT, "60.", 60),
        (COUNT, "60.00", 60),
        (COUNT, "1000000", 10**6),
        (readers.flag, True, True),
        (LIST, [], ()),
        (LIST, ["a", "b"], ("a", "b")),
    ],
)
def test_a_value_is_read_as_it_is_meant(reader, given, meant):
    """P52: in the spellings that people use, bounds included."""
    read = reader(given)

    assert (meant, type(meant)) == (read, type(read))


@pytest.mark.parametrize(
    ("reader", "given", "why"),
    [
        (readers.text("[a-z]*", 1, 3), "", "must have 1 to 3 letters"),
        (readers.text("[a-z]*", 1, 3), "abcd", "must have 1 to 3 letters"),
        (readers.text("[a-z]*", 1, 3), "a1", r"must match \[a-z\]\*"),
        (readers.text(), 1, "must be a text"),
        (readers.whole(0, 9), True, "must be a whole number"),
        (readers.whole(0, 9), 1.0, "must be a whole number"),
        (readers.whole(1, MOST_MEMORY_BYTES), 0, "must be from 1 to 10737418240"),
        (NUMBER, True, "must be a number"),  # one check in one, and each is paid
        (NUMBER, "1", "must be a number"),
        (NUMBER, float("nan"), "must be a number"),
        (NUMBER, float("inf"), "must be a number"),
        (NUMBER, 10**400, "must be from 0 to 10"),
        (ABOVE, 0, "must be above 0"),
        (ABOVE, -1, "must be from 0 to 10"),
        (DIGITS, "sixty", "must be a number"),
        (DIGITS, "6 0", "must be a number"),
        (DIGITS, "nan", "must be a number"),
        (COUNT, "60.5", "must be a whole number"),
        (readers.one_of(["a", "b"]), "c", "must be one of a, b"),
        (readers.flag, 1, "must be true or false"),
        (readers.flag, "true", "must be true or false"),
        (LIST, "a", "must be a list of texts"),
        (LIST, ["a", 1], "must be a list of texts"),
        (LIST, ["a", "b", "c"], "must list 2 texts at most"),
    ],
)
def test_what_a_setting_may_not_be_is_said(reader, given, why):
    """P52: what it must be, and never what it was: that may be a secret."""
    with pytest.raises(readers.Wrong, match=f"^{why}$"):
        reader(given)
