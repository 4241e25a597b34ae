"""Answers of a handler in this very process: what a hit returns is what Lambda's own runtime would have written of a miss."""

import enum
import json
from collections import Counter, OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import pytest
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
from hypothesis import example, given
from hypothesis import strategies as st
from simplejson import RawJSON

from hookcache.backend import CallableBackend
from hookcache.clock import Deadline
from hookcache.runtime_json import written

RUNTIMES = ["AWS_Lambda_python3.11", "AWS_Lambda_python3.13"]


class Usage(NamedTuple):
    """A count as a handler may write it."""

    input: object
    pages: object


Renamed = namedtuple("Renamed", ["class", "b"], rename=True)


class Colour(enum.IntEnum):
    RED = 1


class Word(enum.StrEnum):
    END = "end_turn"


class Mixed(str, enum.Enum):  # noqa: UP042 - as handlers older than StrEnum have it
    END = "end_turn"


class Plain(enum.Enum):
    A = 1


class Odd(int):
    """Says another number than it is."""

    def __repr__(self):
        return "7"

    __str__ = __repr__


class OddFloat(float):
    def __repr__(self):
        return "7.5"


class Shouting(str):
    def __str__(self):
        return self.upper()

    __repr__ = __str__


class Hiding(dict):
    """Shows other members than it has."""

    def items(self):
        return [("shown", 1)]


class Told:
    def __init__(self, told=None):
        self.told = told

    def _asdict(self):
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


class Listed(list):
    """Adds nothing."""


class ToldDict(dict):
    def _asdict(self):
        return {"told": True}


class ToldList(list):
    def _asdict(self):
        return {"told": True}


class Asking(dict):
    def _asdict(self, which):
        return which


@dataclass
class Data:
    a: int = 1


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=6),
    st.decimals(places=None),
    st.sampled_from([*Colour, *Word, *Mixed, Odd(3), OddFloat(1.25), Shouting("abc"), Decimal("1E+2"), Decimal("-0")]),
)
KEYS = st.one_of(
    st.text(max_size=4), st.integers(-3, 3), st.booleans(), st.none(), st.floats(), st.sampled_from([*Word, *Colour])
)


def containers(inner):
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.builds(Usage, inner, inner),
        st.builds(Renamed, inner, inner),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict),
        st.dictionaries(KEYS, inner, max_size=3).map(lambda members: defaultdict(list, members)),
        st.dictionaries(KEYS, inner, max_size=3).map(Told),
        st.lists(inner, max_size=2).map(ToldList),
        st.dictionaries(KEYS, inner, max_size=3).map(ToldDict),
        st.dictionaries(KEYS, inner, max_size=3).map(Asking),
    )


ANSWERS = st.dictionaries(st.text(max_size=4), st.recursive(SCALARS, containers, max_leaves=8), max_size=3)


def posted(answer):
    """What the runtime posts of an answer, parsed as the host parses it and spelt again; None where it cannot."""
    try:
        text, _ = LambdaMarshaller().marshal_response(answer)
    except Exception:
        return None
    return json.dumps(json.loads(text))


def ask(response):
    return CallableBackend(lambda event, context: response).invoke({}, None, Deadline(None))


@pytest.mark.parametrize("runtime", RUNTIMES)
@given(answer=ANSWERS)
@example(answer={"usage": Usage(Decimal(2), 1.0)})
@example(answer={"usage": Renamed(1, (2, Usage(3, [])))})
@example(answer={"a": Hiding(hidden=1), "b": Counter("aab")})
@example(answer={"at": Told(ValueError("mine"))})
@example(answer={"at": Told(TypeError("mine"))})
@example(answer={"at": Told("no dict")})
@example(answer={"at": Data()})
@example(answer={"at": Plain.A})
@example(answer={"at": {1, 2}})
@example(answer={"at": RawJSON("[1]")})
@example(answer={"at": {b"key": 1}})
@example(answer={"at": {Decimal(1): 1}})
@example(answer={"at": {(1, 2): 1}})
@example(answer={"at": {1: "a", "1": "b"}})
@example(answer={"at": Decimal("1" * 5000)})
@example(answer={"at": Decimal("Infinity")})
@example(answer={"at": Decimal("sNaN")})
@example(answer={"at": "\ud83d"})
def test_what_is_kept_is_what_the_runtime_would_write(answer, runtime):
    """P8, P9, P14: a hit equals what a miss returned, on the wire; what cannot be told so is the caller's and is not kept."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_EXECUTION_ENV", runtime)
        reply = ask(answer)
        if reply.body:
            assert posted(answer) == posted(reply.response) == json.dumps(json.loads(reply.body))
        else:
            assert answer is reply.response


@pytest.mark.parametrize(
    "value",
    [
        (1, (2, "x")),
        Usage(1, Decimal("2.50")),
        Decimal(2),
        Decimal("NaN"),
        Odd(3),
        OddFloat(1.25),
        Colour.RED,
        Word.END,
        Mixed.END,
        Shouting("abc"),
        b"bytes",
        OrderedDict(a=1),
        Hiding(hidden=1),
        Told({"a": (1,)}),
        ToldDict(a=1),
        ToldList([1]),
        Listed([1]),
        Decimal("sNaN"),
        Asking(a=1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_that_the_runtime_writes_can_be_kept(value):
    """The test above lets an answer pass that is not kept: whoever answers with such a value would never have a hit."""
    assert posted({"at": value}) == json.dumps(json.loads(written({"at": value})))


@pytest.mark.parametrize(
    "value",
    [Told("no dict"), Told([1]), Plain.A, Data(), {1, 2}, Told(ValueError())],
    ids=lambda value: type(value).__name__,
)
def test_what_the_runtime_does_not_write_is_not_written(value):
    """Control of the test above."""
    assert posted({"at": value}) is None
    with pytest.raises((TypeError, ValueError)):
        written({"at": value})


def test_an_answer_in_itself_is_the_callers():
    """P18, B6: the runtime's own complaint is the right one."""
    answer = {}
    answer["self"] = answer

    assert answer is ask(answer).response
    assert b"" == ask(answer).body


def test_letters_take_no_more_room_than_the_runtime_gives_them():
    """B8, P49: two megabytes of Chinese are two million letters of three bytes, not of six."""
    said = "\u6f22\U0001f600\ud83d"

    assert json.dumps(said, ensure_ascii=False).encode("utf-8", "backslashreplace") == written(said)
    assert said == json.loads(written(said))
