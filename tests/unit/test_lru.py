"""What was used last, within a bound."""

import pytest
from cachetools import LRUCache as Reference
from hypothesis import given
from hypothesis import strategies as st

from hookcache.lru import LRUCache

KEYS = st.integers(0, 7)
SIZES = st.integers(1, 12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["get", "look", "pop", "delete"]), KEYS, st.just(0)),
        st.tuples(st.just("put"), KEYS, SIZES),
        st.tuples(st.just("clear"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


def told(cache, action, key, size):
    """What a cache gives, or which error it raises."""
    try:
        match action:
            case "get":
                return cache.get(key)
            case "look":
                return cache[key]
            case "pop":
                return cache.pop(key, None)
            case "put":
                cache[key] = (key, size)
            case "delete":
                del cache[key]
            case "clear":
                cache.clear()
    except (KeyError, ValueError) as error:
        return type(error)


@given(STEPS)
def test_it_gives_and_drops_what_cachetools_does(steps):
    """P11: the least recently used goes first, however keys collide and whatever their sizes are."""
    ours, theirs = (kind(20, getsizeof=lambda value: value[1]) for kind in (LRUCache, Reference))
    for step in steps:
        assert told(theirs, *step) == told(ours, *step)
        assert (theirs.currsize, len(theirs), sorted(theirs)) == (ours.currsize, len(ours), sorted(ours))
        assert sorted(theirs.values()) == sorted(ours.values())


def test_what_alone_passes_the_bound_takes_nothing_out():
    """P11: what lies there stays, the value under the same key among it."""
    cache = LRUCache(10, getsizeof=len)
    cache["key"] = "short"
    with pytest.raises(ValueError, match="alone passes"):
        cache["key"] = "as long as this"

    assert ("short", 5) == (cache["key"], cache.currsize)


def test_without_sizes_each_counts_one():
    """P11: a bound on how many there are."""
    cache = LRUCache(2)
    for key in "abc":
        cache[key] = key

    assert ["b", "c"] == list(cache)


@pytest.mark.parametrize(
    ("ask", "left"),
    [
        (lambda cache: cache.get("a"), ["a", "c"]),
        (lambda cache: cache["a"], ["a", "c"]),
        (lambda cache: cache.get("b"), ["b", "c"]),
        (lambda cache: "a" in cache, ["b", "c"]),
    ],
    ids=["get", "look up", "control: the other", "control: none"],
)
def test_what_was_asked_for_last_stays(ask, left):
    """P11: by both ways of asking; what only lies there goes."""
    cache = LRUCache(2)
    cache["a"], cache["b"] = 1, 2
    ask(cache)
    cache["c"] = 3

    assert left == list(cache)


def test_what_fills_it_to_the_bound_has_room():
    """P11: the bound itself may be reached, by one value and by several; `pop` gives what it takes out."""
    cache = LRUCache(4, getsizeof=len)
    cache["a"] = "1234"
    assert ("1234", None, "none") == (cache.pop("a"), cache.pop("a"), cache.pop("a", "none"))
    cache["a"], cache["b"] = "12", "34"

    assert (["a", "b"], 4) == (list(cache), cache.currsize)
