"""
Near misses: for a request that was never seen before, the earlier one that equals it in all but one component.

Each request is remembered once per component under the digest of all the others, so one look per component finds whatever
equals it there. `prompt` stands for all texts at once, which a new version of the host changes together.

A shared rest is no proof that two requests are one: every page of an OCR step shares its prompt with every other page. So
what a rest says is judged at the end, by how many different values each component of that step had (`evidence`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hookcache_ops.explain.recent import Distinct, Recent
from hookcache_ops.explain.traced import SETTINGS, Shapes, Trace, changed_numbers, shared_shape

ENTRIES = 300_000
"""Remembered (request, component) pairs, about 200 MB: the last 25,000 to 50,000 different requests."""
PLACES = 8
"""Texts and images past this place of a request are compared as part of the rest only."""
RARE = 0.1
"""A component tells documents apart if it has at least this share of the different values of the one that changed."""


@dataclass(slots=True)
class Seen:
    """One request as it was last seen: when, under which request id, by which function, and whether its answer was kept; `born_ms`, when the answer that is kept was made, None where no receipt tells; `window` and `puts`, when which environments last took a copy, are the reader's."""

    last_ms: int
    request_id: str
    function: str
    kept: bool = False
    refusal: str = ""
    first_ms: int = 0
    born_ms: int | None = None
    window: int = -1
    puts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A component in which a request may differ from an earlier one; `how` as in `traced.Difference`."""

    kind: str
    at: int
    how: str


@dataclass(frozen=True, slots=True)
class Near:
    """An earlier request, the component that differs, and this request's value of it."""

    candidate: Candidate
    earlier: Seen
    value: int
    rest: int


@dataclass(frozen=True, slots=True)
class _Part:
    kind: str
    at: int
    value: int
    shapes: Shapes
    rest: int


@dataclass(frozen=True, slots=True)
class _Entry:
    value: int
    shapes: Shapes
    trace: Trace | None
    seen: Seen


@dataclass(slots=True)
class NearMisses:
    """An index of the requests seen so far. `variety` counts different values by (step, kind, place)."""

    index: Recent[_Entry] = field(default_factory=lambda: Recent(ENTRIES))
    variety: dict[tuple[str, str, int], Distinct] = field(default_factory=dict)

    def meet(self, step: str, trace: Trace, seen: Seen, *, look: bool) -> list[Near]:
        """
        Remember a request that was never seen before; if `look`, with the earlier ones that it nearly equals, by rank.

        Texts that share a shape come first: they are surely versions of one text. Then whatever leaves all content equal.
        """
        found: list[Near] = []
        for part in _parts(trace):
            if part.kind in {"system", "text", "image"}:
                self._varied(step, part)
            entry = self.index.get(part.rest) if look else None
            if entry is not None and entry.value != part.value:
                candidate = Candidate(part.kind, part.at, _how(part, trace, entry))
                found.append(Near(candidate, entry.seen, part.value, part.rest))
            kept = trace if part.kind in {"settings", "numbers"} else None
            self.index.put(part.rest, _Entry(part.value, part.shapes, kept, seen))
        return sorted(found, key=lambda near: _rank(near.candidate))

    def evidence(self, step: str, candidate: Candidate) -> bool:
        """Does what stays equal tell one document from another, so that the changed component is the odd one out?"""
        kind, at = candidate.kind, candidate.at
        if candidate.how or kind in {"settings", "numbers", "system"}:
            return True
        images = max(self._values(step, "image", each) for each in range(PLACES))
        if kind == "prompt":
            return images >= 2
        others = [
            count
            for (of, name, place), distinct in self.variety.items()
            if of == step and (name, place) != (kind, at) and name != "system"
            for count in [len(distinct)]
        ]
        enough = max(2.0, RARE * self._values(step, kind, at))
        if kind == "text" and images >= 2:
            return True
        return max(others, default=0) >= enough

    def _values(self, step: str, kind: str, at: int) -> int:
        distinct = self.variety.get((step, kind, at))
        return 0 if distinct is None else len(distinct)

    def _varied(self, step: str, part: _Part) -> None:
        place = (step, part.kind, part.at)
        distinct = self.variety.get(place)
        if distinct is None:
            distinct = self.variety[place] = Distinct()
        distinct.add(part.value)


def _parts(trace: Trace) -> Iterator[_Part]:
    """Each component of a request with the digest of all the others."""
    marks: list[tuple[str, int, int, Shapes]] = [
        ("settings", 0, hash(trace.settings), ()),
        ("numbers", 0, hash(trace.numbers), ()),
        *(("system", at, value, trace.shapes_of("system", at)) for at, value in enumerate(trace.system)),
        *(("text", at, value, trace.shapes_of("text", at)) for at, value in enumerate(trace.texts)),
        *(("image", at, value, ()) for at, value in enumerate(trace.images)),
    ]
    hashes = [hash((kind, at, value)) for kind, at, value, _ in marks]
    whole = sum(hashes) + _stable(trace.blocks)
    for (kind, at, value, shapes), own in zip(marks, hashes, strict=True):
        if at < PLACES:
            yield _Part(kind, at, value, shapes, hash((kind, at, whole - own)))
    if trace.images:
        value = hash((trace.blocks, trace.system, trace.texts))
        yield _Part("prompt", 0, value, (), hash(("prompt", trace.settings, trace.numbers, trace.images)))


def _stable(blocks: str) -> int:
    return hash(("blocks", blocks))


def _how(part: _Part, trace: Trace, entry: _Entry) -> str:
    if part.kind in {"system", "text"}:
        return shared_shape(entry.shapes, part.shapes)
    if entry.trace is None:
        return ""
    if part.kind == "numbers":
        return changed_numbers(entry.trace.numbers, trace.numbers)
    pairs = zip(SETTINGS, entry.trace.settings, trace.settings, strict=True)
    return " and ".join(name for name, before, now in pairs if before != now)


_RANKS = {"settings": 1, "numbers": 2, "system": 3, "text": 4, "image": 5, "prompt": 6}


def _rank(candidate: Candidate) -> int:
    return 0 if candidate.how and candidate.kind in {"system", "text"} else _RANKS[candidate.kind]
