"""One local AWS for all chains, and chains by way: shared ones with the default settings, others on demand."""

from collections.abc import Callable, Iterator, Mapping

import pytest
from ways import Chain

from hookcache_ops.local.aws import LocalAws

WAYS = ("wrapper", "decorator", "layer")


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as aws:
        yield aws


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def make_chain(aws, way, tmp_path_factory) -> Callable[..., Chain]:
    """Chains with settings of the test's own."""

    def make(settings: Mapping[str, str] | None = None) -> Chain:
        return Chain(aws, way, tmp_path_factory.mktemp("chain"), settings)

    return make


@pytest.fixture(scope="module")
def chain(make_chain) -> Chain:
    """The chain of this way with the default settings; tests keep apart by what they say in their requests."""
    return make_chain()
