"""
What every test may ask for: a clock, the rig, a rig with other settings, an OCR; the profiles of the property tests; and in
which order `make prove` takes them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fakes import FakeClock
from hookcache.commands import Commands
from hookcache_ops.local import engines
from hookcache_ops.local.lambda_service import LambdaService
from missing import missing
from operator_rig import operator_of
from ops.local_rig import require_engine
from rig import Rig

# The quick suite tries the same examples each time, so that it fails for a change and never by chance; `long` searches on.
settings.register_profile(
    "quick",
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", max_examples=3_000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HOOKCACHE_PROFILE", "quick"))


@pytest.fixture(scope="session", autouse=True)
def patient_functions() -> None:
    """Functions in processes of a local AWS grant the table more than the product's second: see `tests/patient`."""
    *others, sources = LambdaService.__init__.__defaults__ or ()
    LambdaService.__init__.__defaults__ = (*others, (Path(__file__).with_name("patient"), *sources))


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


@pytest.fixture
def operator(rig: Rig) -> Iterator[Commands]:
    """The operator's commands on the rig's cache."""
    with operator_of(rig) as commands:
        yield commands


@pytest.fixture(scope="session")
def dynoxide() -> Iterator[str]:
    """The endpoint of dynoxide, the fastest of the engines that are exact on conditions."""
    require_engine(engines.DYNOXIDE)
    with engines.engine(engines.DYNOXIDE) as server:
        yield server.url


@pytest.fixture(scope="session")
def ocr() -> None:
    """An engine that reads pages."""
    if importlib.util.find_spec("rapidocr_onnxruntime") is None and shutil.which("tesseract") is None:
        missing("no OCR here: RapidOCR is released for Python 3.12 and older; elsewhere install tesseract-ocr")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On workers, each of which takes the next file: first what may take longest, or the last file is waited for alone."""

    def patience(item: pytest.Item) -> float:
        limit = item.get_closest_marker("timeout")
        return float(limit.args[0]) if limit is not None else 0.0

    if hasattr(config, "workerinput"):
        longest: dict[object, float] = {}
        for item in items:
            longest[item.path] = max(longest.get(item.path, 0.0), patience(item))
        items.sort(key=lambda item: (-longest[item.path], str(item.path)))
