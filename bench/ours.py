"""Our side: the wrapper as it is deployed, its backend replaced by a function that answers at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from hookcache.assembly import Assembly
from hookcache.backend import Answer
from hookcache.settings import Settings

SETTINGS = {
    "HOOKCACHE_CLIENT": os.environ.get("HOOKCACHE_CLIENT", "slim"),
    "AWS_LAMBDA_FUNCTION_NAME": "GENAIIDP-cache-bench",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "HOOKCACHE_BACKEND": "GENAIIDP-bench",
    "HOOKCACHE_IDENTITY": "pinned",
    "HOOKCACHE_SECRET": "a secret for the bench and nothing else",
    "HOOKCACHE_IMAGE_PREFIXES": "s3://pages/temp/lambdahook/",
}


class InstantBackend:
    """Answers without a call, as the peers' backends do: what is left is the cache's own work."""

    def __init__(self, answer: Callable[[Any], dict[str, Any]]) -> None:
        self._answer = answer

    def invoke(self, event: Any, context: Any, deadline: Any) -> Answer:  # noqa: ARG002
        response = self._answer(event)
        return Answer(json.dumps(response).encode(), response)


class Ours:
    """One execution environment of the wrapper."""

    def __init__(
        self, table: str, backend: Callable[[Any], dict[str, Any]], environ: Mapping[str, str], **settings: str
    ) -> None:
        merged = {**environ, **SETTINGS, "HOOKCACHE_TABLE": table, **settings}
        self.assembly = Assembly(Settings.of(merged), merged)
        self._hook = self.assembly.hook(InstantBackend(backend))

    def __call__(self, event: Any, context: Any) -> Any:
        return self._hook(event, context)

    @property
    def cache(self) -> Any:
        return self.assembly.cache()

    def forget(self) -> None:
        """Empty the memory tier and the memo of images, so that table and bucket are asked again."""
        self.cache._memory._copies.clear()
        self.cache._memo._known.clear()
