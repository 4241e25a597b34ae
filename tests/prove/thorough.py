"""A pytest plugin, `-p prove.thorough`: the profile `thorough` tries HOOKCACHE_EXAMPLES examples of each property."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "thorough",
    max_examples=int(os.environ.get("HOOKCACHE_EXAMPLES", "100")),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
