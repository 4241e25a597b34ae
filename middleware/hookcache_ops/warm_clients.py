"""The clients of `hookcache warm`: those of the hook, but that a dry run cannot write, and lost pages come from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hookcache_ops.pairs import LocalImages


class WarmClients:
    """The real clients; a folder of images in front of S3, and in a dry run a table that takes no write."""

    def __init__(self, clients: Any, *, dry_run: bool, images: str | None) -> None:
        self._clients, self._dry_run, self._images = clients, dry_run, images

    def dynamodb(self) -> Any:
        return _ReadOnly(self._clients.dynamodb()) if self._dry_run else self._clients.dynamodb()

    def s3(self) -> Any:
        return LocalImages(Path(self._images), self._clients.s3) if self._images else self._clients.s3()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clients, name)


class _ReadOnly:
    """A table's client that can only read, whatever the CONTROL item orders."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("put_", "update_", "delete_", "batch_write", "transact_write")):
            raise PermissionError("a dry run writes nothing")
        return getattr(self._client, name)
