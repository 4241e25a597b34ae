"""functions/sagemaker in front of an endpoint whose container speaks chat completions."""

from __future__ import annotations

from hookcache_ops.backends import Backend, Server
from hookcache_ops.backends.sagemaker_server import SageMakerServer
from hookcache_ops.local.aws import LocalAws


def environment(server: Server | None, _aws: LocalAws) -> dict[str, str]:
    """What names the endpoint, for every function in front of one."""
    assert server is not None  # noqa: S101 - `serve` starts one
    return {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": server.url,
        "SAGEMAKER_ENDPOINT_NAME": "page-reader",
        "REQUEST_TIMEOUT": "230",  # OCR on a busy machine
    }


BACKEND = Backend(name="sagemaker", environment=environment, serve=SageMakerServer)
