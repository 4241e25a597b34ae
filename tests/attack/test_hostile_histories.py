"""What hostile or merely unlucky histories do to the hook: one thing follows another, and neither is wrong alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes import BackendRaised, summarization_event
from hookcache.errors import BackendFailed


def policy(**rules: Any) -> dict[str, str]:
    return {"HOOKCACHE_POLICY": json.dumps({"*": rules})}


# -------------------------------------------------------------------- what must not be served

STALE = {"fresh_seconds": 600, "hard_seconds": 6_000, "stale_if_error": True}


def test_observe_serves_nothing_after_a_failed_fetch_either(make_rig: Any) -> None:
    """P50, P45: `observe` never serves, and an answer past its freshness is an answer."""
    rig = make_rig(HOOKCACHE_MODE="observe", **policy(**STALE))
    rig.call(summarization_event())
    rig.clock.advance(1_000)
    rig.backend.replies = [BackendRaised("Boom", "no")]

    with pytest.raises(BackendFailed):
        rig.call(summarization_event())


def test_a_stale_answer_is_served_where_answers_are(make_rig: Any) -> None:
    """Negative control of the test above."""
    rig = make_rig(**policy(**STALE))
    rig.call(summarization_event())
    rig.clock.advance(1_000)
    rig.backend.replies = [BackendRaised("Boom", "no")]
    rig.call(summarization_event())

    assert "stale" == rig.last["outcome"]
