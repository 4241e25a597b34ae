"""Engines behind a fault proxy, one of each per run; the rig over them, which is checked as a whole after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fault_proxy import FaultProxy
from sockets import SDK, FaultRig, SocketRig

from hookcache_ops.local import engines
from ops.local_rig import require_engine


@pytest.fixture(scope="session")
def object_engine() -> Iterator[str]:
    """The endpoint of moto, for S3."""
    require_engine(engines.MOTO)
    with engines.engine(engines.MOTO) as server:
        yield server.url


@pytest.fixture
def proxy(dynoxide: str) -> Iterator[FaultProxy]:
    with FaultProxy(dynoxide) as proxy:
        yield proxy


@pytest.fixture
def sockets(proxy: FaultProxy, dynoxide: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SocketRig]]:
    """Makes rigs over the proxy, with settings of the test's own; `in_time=True`: with the product's own time limits."""
    for name, value in {**SDK, "AWS_ENDPOINT_URL_DYNAMODB": proxy.url}.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:

        def make(*, in_time: bool = False, **settings: str | None) -> SocketRig:
            rig = stack.enter_context(SocketRig(proxy, dynoxide, in_time=in_time, **settings))
            stack.callback(rig.close)
            return rig

        yield make


@pytest.fixture
def over(sockets: Callable[..., SocketRig]) -> SocketRig:
    return sockets()


@pytest.fixture
def make_rig() -> Iterator[Callable[..., FaultRig]]:
    """Rigs on doubles with settings of the test's own; each is checked as a whole when the test is over."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(FaultRig(**settings))


@pytest.fixture
def rig(make_rig: Callable[..., FaultRig]) -> FaultRig:
    return make_rig()
