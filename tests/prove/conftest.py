"""The engine that times are taken on, with an empty table, and the variables by which the product's own clients find it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import boto3
import pytest

from hookcache_ops.local.aws import create_table
from ops.local_rig import CREDENTIALS
from prove.hooks import Timed


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Credentials in the environment; endpoints are set by who starts an engine."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def table(dynoxide: str, aws: pytest.MonkeyPatch) -> str:
    """A new table on the engine."""
    aws.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynoxide)
    name = f"table-{uuid.uuid4().hex[:8]}"
    create_table(boto3.client("dynamodb", endpoint_url=dynoxide), name)
    return name


@pytest.fixture
def hook_on(table: str) -> Iterator[Callable[..., Timed]]:
    """Hooks over the table, with settings of the test's own."""
    made: list[Timed] = []

    def build(**settings: str) -> Timed:
        made.append(Timed(table, **settings))
        return made[-1]

    yield build
    for hook in made:
        hook.close()
