"""One local AWS with the stream function for all tests of this folder; each test asks what nobody asked before."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from stream_stage import FOLDER, Stage

from hookcache_ops.backends.converse_stream_server import ConverseStreamServer
from hookcache_ops.local.aws import LocalAws

sys.path.append(str(FOLDER))
import backend_errors  # noqa: F401
import backend_settings  # noqa: F401
import converse_events  # noqa: F401
import converse_request  # noqa: F401
import converse_source  # noqa: F401
import page_images  # noqa: F401
import prompt_parts  # noqa: F401
import sampling  # noqa: F401
import stream_function  # noqa: F401
import stream_response  # noqa: F401
import stream_runtime  # noqa: F401

sys.path.remove(str(FOLDER))  # every function has an `app`: nobody else may find this one


@pytest.fixture(scope="session")
def deployed() -> Iterator[Stage]:
    with LocalAws() as aws, ConverseStreamServer() as model:
        stage = Stage(aws, model)
        stage.deploy()
        yield stage


@pytest.fixture
def stage(deployed: Stage) -> Stage:
    """The stage as a test finds it: the model has counted nothing and was told nothing."""
    deployed.model.forget()
    return deployed
