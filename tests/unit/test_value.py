"""Values do what frozen, slotted dataclasses do: the same definitions are given to both, and both are asked the same."""

import copy
import dataclasses
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcache import value as module
from hookcache.key import Secrets
from hookcache.settings import Settings
from hookcache.value import members, replace, shown, value

NAMES = ("a", "b", "c", "d")
PLAIN = st.none() | st.integers(0, 2) | st.sampled_from(["", "x", "é", 0.0, float("nan"), (), (1, "x"), frozenset({1})])
GIVEN = st.lists(PLAIN, max_size=5)
NAMED = st.dictionaries(st.sampled_from((*NAMES, "other")), PLAIN, max_size=4)


@st.composite
def definitions(draw):
    """A value and a dataclass with the same members, the last of them with defaults."""
    names = NAMES[: draw(st.integers(0, len(NAMES)))]
    defaults = draw(st.integers(0, len(names)))
    body = {"__annotations__": dict.fromkeys(names, "object")}
    body |= {name: draw(PLAIN) for name in names[len(names) - defaults :]}
    return value(type("Page", (), body)), dataclasses.dataclass(frozen=True, slots=True)(type("Page", (), body))


def told(call, *given, **named):
    """What came of a call: what was made, as text, or the error."""
    try:
        return repr(call(*given, **named))
    except (TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"


def made(kinds, given=()):
    """An instance of each kind; where too few values are given, None fills up."""
    count = len(kinds[0].__match_args__)
    return [kind(*[*given, *[None] * count][:count]) for kind in kinds]


@given(definitions(), GIVEN, NAMED)
def test_arguments_are_taken_or_refused_as_by_a_dataclass(kinds, given, named):
    """Positions, names, defaults; too many, too few, twice, unknown: the same instance or the same TypeError."""
    ours, theirs = kinds

    assert told(theirs, *given, **named) == told(ours, *given, **named)
    assert told(theirs, *given, **named) == told(ours, *given, **named)  # by the first instance's way and the others'


@given(definitions(), GIVEN, GIVEN)
def test_equality_and_hash_are_those_of_the_members(kinds, first, second):
    """`==`, `!=` and `hash` answer as the dataclass's do, for equal and for different members."""
    (one, their_one), (other, their_other) = made(kinds, first), made(kinds, second)

    assert (their_one == their_other) == (one == other)
    assert (their_one != their_other) == (one != other)
    assert hash(their_one) == hash(one)
    assert one == made(kinds, first)[0]


@given(definitions(), GIVEN, NAMED)
def test_a_replaced_value_differs_in_what_was_named(kinds, first, changes):
    """`replace` gives the new value or the TypeError that `dataclasses.replace` gives."""
    ours, theirs = made(kinds, first)

    assert told(dataclasses.replace, theirs, **changes) == told(replace, ours, **changes)
    assert repr(theirs) == repr(ours)  # what it was made of stays


@given(definitions(), GIVEN)
def test_nothing_about_a_value_can_be_changed(kinds, first):
    """Setting, deleting and adding raise AttributeError, and there is no dictionary to go through."""
    for one in made(kinds, first):
        before = repr(one)
        for name in (*NAMES, "other"):
            with pytest.raises(
                (AttributeError, TypeError)
            ):  # a slotted dataclass of Python 3.11 raises TypeError for one it has not
                setattr(one, name, 1)
            with pytest.raises((AttributeError, TypeError)):
                delattr(one, name)
        assert not hasattr(one, "__dict__")
        assert before == repr(one)


@given(definitions(), GIVEN)
def test_copies_and_pickles_are_equal(kinds, first):
    """`copy`, `deepcopy` and, for classes that a module holds, `pickle` give equal values."""
    one = made(kinds, first)[0]

    assert repr(one) == repr(copy.copy(one)) == repr(copy.deepcopy(one))
    assert Point(1, 2) == pickle.loads(pickle.dumps(Point(1, 2)))
    assert type(one).__match_args__ == tuple(members(one))


@value
class Point:
    x: int
    y: int = 0

    def far(self) -> bool:
        return self.x + self.y > 10


@value
class Place:
    x: int
    y: int = 0


@value
class Counted:
    """One with a member of its own that is worked out later."""

    text: str
    _letters: int | None = None

    def letters(self) -> int:
        if self._letters is None:
            object.__setattr__(self, "_letters", len(self.text))
        return self._letters or 0


@value
class Named:
    name: str

    def __repr__(self) -> str:
        return shown(self, hidden={"name"})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    def __hash__(self) -> int:
        return 7


def test_values_of_two_classes_are_never_equal():
    """Not even with equal members, and a value is no tuple; the control: two of one class are."""
    assert Point(1, 2) != Place(1, 2)
    assert Point(1, 2) != (1, 2)
    assert Point(1, 2).__eq__(Place(1, 2)) is NotImplemented
    assert Point(1, 2) == Point(1, 2)
    assert 2 == len({Point(1, 2), Place(1, 2), Point(1, 2)})


def test_values_are_matched_by_position_and_name():
    """`case Point(1, y=...)` finds what it finds in a dataclass."""
    match Point(1, 2):
        case Place():
            found = None
        case Point(1, y=second):
            found = second

    assert 2 == found
    assert ("x", "y") == Point.__match_args__


def test_a_class_keeps_what_it_says_of_itself():
    """Its names, its text, its module, its methods, and those that a value would else have from us."""

    @value
    class Inner: ...

    assert Inner.__qualname__.endswith("keeps_what_it_says_of_itself.<locals>.Inner")
    assert ("Counted", "Counted", __name__) == (Counted.__name__, Counted.__qualname__, Counted.__module__)
    assert "worked out later" in Counted.__doc__
    assert Point(9, 2).far()
    assert ("Named()", 7, True) == (repr(Named("secret")), hash(Named("a")), Named("a") == "b")


def test_a_member_that_begins_with_an_underscore_is_no_parameter():
    """It starts as its default and leaves with the instance: no repr, no comparison, no copy has it."""
    fresh, used = Counted("abc"), Counted("abc")

    assert 3 == used.letters() == used._letters
    assert fresh == used
    assert hash(fresh) == hash(used)
    assert "Counted(text='abc')" == repr(used)
    assert [None] * 3 == [other._letters for other in (fresh, replace(used), copy.copy(used))]
    for call in (lambda: Counted("abc", 3), lambda: Counted("abc", _letters=3), lambda: replace(used, _letters=3)):
        with pytest.raises(TypeError, match=r"Counted\.__init__\(\)"):
            call()


def test_nobody_changes_a_member_by_assignment():
    """The message names the class and the member."""
    for change in (
        lambda: setattr(Point(1), "x", 2),
        lambda: delattr(Point(1), "x"),
        lambda: setattr(Point(1), "z", 2),
    ):
        with pytest.raises(AttributeError, match=r"Point is a value: [xz] can be neither set nor deleted"):
            change()


@pytest.mark.parametrize("default", [[], {}, set()], ids=repr)
def test_a_default_that_can_change_is_refused(default):
    """All instances would share it; the control: what cannot change is taken."""
    with pytest.raises(TypeError, match=r"Page\.many"):
        value(type("Page", (), {"__annotations__": {"many": "object"}, "many": default}))

    assert () == value(type("Page", (), {"__annotations__": {"many": "object"}, "many": ()}))().many


def test_a_value_of_another_is_refused():
    """The members of the base would be lost. The control: an ordinary class may have a value as its base."""
    with pytest.raises(TypeError, match="has no base"):
        value(type("Point3", (Point,), {"__annotations__": {"z": "int"}}))

    class Origin(Point):
        def __init__(self) -> None:
            super().__init__(0)

    assert ((0, 0), False) == ((Origin().x, Origin().y), Origin() == Point(0))


def test_the_initializer_is_compiled_by_the_first_instance_and_once(monkeypatch):
    """A cold start makes few of the classes, and pays for those alone."""
    compiled = []
    compile_it = module._initializer
    monkeypatch.setattr(module, "_initializer", lambda *of: compiled.append(of[0]) or compile_it(*of))
    late = value(type("Late", (), {"__annotations__": {"a": "int"}}))

    assert [] == compiled
    assert late(1) == late(a=1)
    assert [late] == compiled


def test_two_threads_may_make_the_first_instance_at_once(monkeypatch):
    """Both compile, and both instances are whole."""
    meeting, compile_it, found = threading.Barrier(2, timeout=10), module._initializer, []

    def met(*of):
        meeting.wait()
        return compile_it(*of)

    monkeypatch.setattr(module, "_initializer", met)
    kind = value(type("Shared", (), {"__annotations__": {"a": "int"}, "a": 5}))
    threads = [threading.Thread(target=lambda given=given: found.append(kind(*given))) for given in ([], [6])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert {kind(5), kind(6)} == set(found)


def test_no_secret_is_shown():
    """P36: neither the settings' own nor those derived from it; the control: what is shown is there."""
    secrets = Secrets.derive(b"do not show me")
    settings = Settings(table="pages", secret="do not show me")

    assert f"Secrets(key_id={secrets.key_id!r})" == repr(secrets)
    assert "do not show me" not in repr(settings)
    assert "secret=" not in repr(settings)
    assert "table='pages'" in repr(settings)
    assert settings != replace(settings, secret="another")
