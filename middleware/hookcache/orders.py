"""
The operator's standing orders to every environment: which answers are no longer valid, which generation, which mode.

Orders are values: each change gives new ones. The CONTROL item carries them as sealed text (`control.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from hookcache.clock import EpochMillis
from hookcache.value import replace, value

ALL_CONTEXTS = "*"
NEVER = EpochMillis(0)
"""Before all answers: nothing was invalidated."""
FORM = 1
"""Version of the text. A reader passes over members that it does not know; a change of meaning raises the version."""


@value
class Orders:
    """
    What the operator ordered. Times are epoch milliseconds; `*` stands for every context.

    Attributes:
        generation: in place of the settings' own; None leaves those in force.
        not_before_ms: answers made earlier are never served (hard).
        stale_before_ms: answers made earlier are served only in place of an error, where that is allowed (soft, P45).
        modes: in place of the settings' own.
    """

    generation: str | None = None
    not_before_ms: Mapping[str, int] = MappingProxyType({})
    modes: Mapping[str, str] = MappingProxyType({})
    stale_before_ms: Mapping[str, int] = MappingProxyType({})

    def not_before(self, context: str) -> EpochMillis:
        """Answers made before this are invalid for `context`."""
        return _latest(self.not_before_ms, context) if self.not_before_ms else NEVER

    def stale_before(self, context: str) -> EpochMillis:
        """Answers made before this are stale for `context`."""
        return _latest(self.stale_before_ms, context) if self.stale_before_ms else NEVER

    def mode(self, context: str) -> str | None:
        return self.modes.get(context) or self.modes.get(ALL_CONTEXTS)

    def invalidated(self, context: str, before_ms: int, *, soft: bool = False) -> Orders:
        """
        With the answers for `context` made before `before_ms` invalid, or stale if `soft`.

        An earlier time than the one that stands changes nothing: what was invalidated stays so (P44).
        """
        times = self.stale_before_ms if soft else self.not_before_ms
        later = {**times, context: max(before_ms, times.get(context, 0))}
        return replace(self, stale_before_ms=later) if soft else replace(self, not_before_ms=later)

    def no_earlier_than(self, other: Orders) -> Orders:
        """With every invalidation of `other` as well (P44)."""
        orders = self
        for context, time in other.not_before_ms.items():
            orders = orders.invalidated(context, time)
        for context, time in other.stale_before_ms.items():
            orders = orders.invalidated(context, time, soft=True)
        return orders

    def with_mode(self, context: str, mode: str | None) -> Orders:
        """With `mode` ordered for `context`; None takes the order back. One for all contexts replaces those for single ones."""
        kept = {} if context == ALL_CONTEXTS else self.modes
        others = {name: ordered for name, ordered in kept.items() if name != context}
        return replace(self, modes=others if mode is None else {**others, context: mode})

    def with_generation(self, generation: str | None) -> Orders:
        """With `generation` in every key; None takes the order back."""
        return replace(self, generation=generation)

    def text(self) -> str:
        """The form in which they are sealed."""
        members = {
            "form": FORM,
            "generation": self.generation,
            "not_before_ms": dict(self.not_before_ms),
            "stale_before_ms": dict(self.stale_before_ms),
            "modes": dict(self.modes),
        }
        return json.dumps(members, sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Orders:
        """Raises ValueError, TypeError, KeyError or AttributeError where the text is no orders of ours."""
        members = json.loads(text)
        if members.get("form", FORM) != FORM:
            raise ValueError("orders of another form")
        return cls(
            members["generation"],
            _times(members["not_before_ms"]),
            dict(members["modes"]),
            _times(members.get("stale_before_ms", {})),
        )


def _latest(times: Mapping[str, int], context: str) -> EpochMillis:
    return EpochMillis(max(times.get(ALL_CONTEXTS, 0), times.get(context, 0)))


def _times(members: Mapping[str, int]) -> dict[str, int]:
    return {str(context): int(time) for context, time in members.items()}
