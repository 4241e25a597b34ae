"""What every test may ask for: a clock, the rig, a rig with other settings; and the profiles of the property tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from fakes import FakeClock
from rig import Rig

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", max_examples=3_000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HOOKCACHE_PROFILE", "quick"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_rig() -> Iterator[Callable[..., Rig]]:
    """Rigs with settings of the test's own; each is checked as a whole when the test is over."""
    with ExitStack() as open_rigs:
        yield lambda **settings: open_rigs.enter_context(Rig(**settings))


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """The whole hook on doubles, checked as a whole when the test is over (see `rig.py`)."""
    return make_rig()


def pytest_configure(config: pytest.Config) -> None:
    # A fake clock shows a day of its own; Powertools warns that CloudWatch would not take a metric of that day.
    config.addinivalue_line("filterwarnings", "ignore:This metric doesn't meet the requirements:UserWarning")
