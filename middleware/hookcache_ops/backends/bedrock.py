"""functions/bedrock in front of a model that reads pages, behind Bedrock's Converse."""

from __future__ import annotations

from hookcache_ops.backends import Backend, Server
from hookcache_ops.backends.converse_server import ConverseServer
from hookcache_ops.local.aws import LocalAws


def _environment(server: Server | None, _aws: LocalAws) -> dict[str, str]:
    assert server is not None  # noqa: S101 - `serve` starts one
    return {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": server.url, "TARGET_MODEL_ID": "us.amazon.nova-pro-v1:0"}


BACKEND = Backend(
    name="bedrock",
    environment=_environment,
    serve=ConverseServer,
    units=("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
)
