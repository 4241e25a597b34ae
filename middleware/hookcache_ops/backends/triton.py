"""functions/triton in front of an endpoint whose container is a Triton with one model, which reads pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from hookcache_ops.backends import Backend, Server
from hookcache_ops.backends.reading import UnreadableError
from hookcache_ops.backends.sagemaker import environment
from hookcache_ops.backends.sagemaker_server import SageMakerServer, model_error
from hookcache_ops.backends.serving import Reply, Request
from hookcache_ops.backends.triton_wire import read_request, write_reply
from hookcache_ops.local.aws import LocalAws


class TritonServer(SageMakerServer):
    """
    The model takes `image` (or `path`, with the bucket's client given) and optionally `prompt`; it gives `text` and
    `confidence`, a row for each page.

    Adds the misfortunes `short` (a tensor is cut, the header is not), `fewer` (a row is missing), `renamed` (another
    tensor), `unsure` (no confidence) and `json` (an answer without binary tensors, as older containers give).
    """

    s3: Any = None
    """A boto3 S3 client, for a model that fetches pages by their address."""

    def container(self, request: Request, how: str) -> Reply:
        inputs, wanted = read_request(request.body, request.headers.get("content-type", ""))
        if set(inputs) - {"image", "path", "prompt"} or not set(inputs) & {"image", "path"}:
            return model_error(400, f"unexpected inference inputs {sorted(inputs)}")
        pages = inputs["image"].rows if "image" in inputs else tuple(map(self._fetched, inputs["path"].rows))
        shape = next(iter(inputs.values())).shape
        try:
            texts = [b"" if how == "empty" else self.tell((), [page]).text.encode() for page in pages]
        except UnreadableError:
            return model_error(500, "in ensemble 'page-reader', the image cannot be decoded")
        sure = [float("nan") if how == "unsure" else 0.97 for _ in texts]
        if how == "fewer":
            texts, shape = texts[1:], (shape[0] - 1, *shape[1:])
        return _reply(how, texts, sure, shape, wanted)

    def _fetched(self, address: bytes) -> bytes:
        uri = urlsplit(address.decode())
        return bytes(self.s3.get_object(Bucket=uri.netloc, Key=uri.path.removeprefix("/"))["Body"].read())


def _reply(how: str, texts: list[bytes], sure: list[float], shape: tuple[int, ...], wanted: list[str]) -> Reply:
    if how == "json":
        told = {"name": "text", "datatype": "BYTES", "shape": list(shape), "data": [text.decode() for text in texts]}
        return Reply(200, json.dumps({"outputs": [told]}).encode(), {"Content-Type": "application/json"})
    name = "texts" if how == "renamed" else "text"
    outputs: list[tuple[str, tuple[int, ...], str, Sequence[Any]]] = [
        (name, shape, "BYTES", texts),
        ("confidence", (len(sure), *shape[1:]), "FP32", sure),
    ]
    body, content_type = write_reply([output for output in outputs if output[0] in {*wanted, "texts"}])
    return Reply(200, body[:-8] if how == "short" else body, {"Content-Type": content_type})


def _environment(server: Server | None, aws: LocalAws) -> dict[str, str]:
    return {**environment(server, aws), "TRITON_CONFIDENCE": "confidence", "LEAST_CONFIDENCE": "0.5"}


BACKEND = Backend(
    name="triton",
    environment=_environment,
    serve=TritonServer,
    units=("pages",),
    needs=("tritonclient",),
)
