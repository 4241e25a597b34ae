"""Each file's service as its tests find it: it was told nothing and has noted nothing."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def server(service: Any) -> Any:
    service.behave()
    service.requests.clear()
    return service
