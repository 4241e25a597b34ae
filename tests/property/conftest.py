"""The long profile may take its time."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("HOOKCACHE_PROFILE", "quick") != "quick":
        for item in items:
            if item.path.parent.name == "property":
                item.add_marker(pytest.mark.timeout(3_600))
