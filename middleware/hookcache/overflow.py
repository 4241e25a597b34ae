"""Bodies too large for an item, in the overflow bucket (P49)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from hookcache.errors import TierUnavailable
from hookcache.spending import Spending

_ERRORS = (ClientError, BotoCoreError, HTTPError, OSError)


class Overflow:
    """Objects of one bucket, named by the entry that owns them; what they hold is checked by the entry's tag."""

    def __init__(self, s3: Callable[[], Any], bucket: str, spending: Spending) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._spending = spending

    def put(self, name: str, body: bytes) -> None:
        """Raises `TierUnavailable` if the bucket did not take it."""
        self._spending.add("s3_requests", 1)
        try:
            self._s3().put_object(Bucket=self._bucket, Key=name, Body=body)
        except _ERRORS as error:
            raise TierUnavailable(type(error).__name__) from None

    def get(self, name: str, size_bytes: int) -> bytes:
        """
        The object, at most `size_bytes + 1` of it; empty where it is missing, which no entry accepts.

        Raises:
            TierUnavailable: the bucket could not be asked.
        """
        self._spending.add("s3_requests", 1)
        try:
            body = self._s3().get_object(Bucket=self._bucket, Key=name)["Body"]
            try:
                read: bytes = body.read(size_bytes + 1)
                return read
            finally:
                body.close()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
                return b""
            raise TierUnavailable(type(error).__name__) from None
        except _ERRORS as error:
            raise TierUnavailable(type(error).__name__) from None

    def delete(self, name: str) -> bool:
        """Remove an object nobody refers to. False if that failed: the bucket's lifecycle will do it."""
        self._spending.add("s3_requests", 1)
        try:
            self._s3().delete_object(Bucket=self._bucket, Key=name)
        except _ERRORS:
            return False
        return True
