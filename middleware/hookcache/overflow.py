"""Bodies too large for an item, in the overflow bucket (P49)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from hookcache.bounded import NotInTime, Workers
from hookcache.errors import TierUnavailable
from hookcache.hints import Any, TypeVar
from hookcache.refusals import code_in
from hookcache.spending import Spending

OBJECT_SECONDS = 3.0
"""Bound on putting or getting one object, whatever hangs: several seconds more than S3 needs for 5.9 MB."""
DELETE_SECONDS = 1.0
WORKERS = 16

GONE = frozenset({"NoSuchKey", "404"})
"""What S3 says of an object that is not there."""
HIDDEN = GONE | {"AccessDenied", "403"}
"""
What it says of one to those who may not list the bucket, as no role of ours may: that they may not read it. A right that was
taken away looks the same, and costs no more than an outage: the backend is asked.

Source: Amazon S3 API Reference, "GetObject", "Permissions".
"""

_PASSING = frozenset({"", "InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"})

T = TypeVar("T")


class Overflow:
    """Objects of one bucket, named by the entry that owns them; what they hold is checked by the entry's tag."""

    def __init__(self, s3: Callable[[], Any], bucket: str, spending: Spending) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._spending = spending
        self._workers = Workers("hookcache-overflow", WORKERS)

    def put(self, name: str, body: bytes) -> None:
        """Raises `TierUnavailable` if the bucket did not take it."""
        self._spending.add_object(
            self._ask(
                OBJECT_SECONDS,
                lambda: self._s3().put_object(Bucket=self._bucket, Key=name, Body=body),
                "s3_put_requests",  # a dozen times as dear as a look
            )
        )

    def get(self, name: str, size_bytes: int, gone: Collection[str] = GONE) -> bytes:
        """
        The object, at most `size_bytes + 1` of it; empty where it is missing, which no entry accepts.

        Args:
            gone: the codes that mean so to whoever asks.

        Raises:
            TierUnavailable: the bucket could not be asked.
        """

        def read() -> bytes:
            try:
                reply = self._s3().get_object(Bucket=self._bucket, Key=name)
            except Exception as error:
                if code_in(error) in gone:
                    return b""
                raise
            self._spending.add_object(reply)
            body = reply["Body"]
            try:
                content: bytes = body.read(size_bytes + 1)
                if len(content) < min(size_bytes + 1, reply.get("ContentLength", 0)):
                    raise EOFError("the body came in part")  # boto3 says so only to who asks for all of it
                return content
            finally:
                body.close()

        return self._ask(OBJECT_SECONDS, read)

    def delete(self, name: str) -> bool:
        """Remove an object nobody refers to. False if that failed: the bucket's lifecycle will do it."""
        try:
            self._ask(DELETE_SECONDS, lambda: self._s3().delete_object(Bucket=self._bucket, Key=name))
        except TierUnavailable:
            return False
        return True

    def close(self) -> None:
        """Let the worker threads end."""
        self._workers.close()

    def _ask(self, seconds: float, work: Callable[[], T], unit: str = "s3_requests") -> T:
        self._spending.add(unit, 1)
        try:
            return self._workers.call(seconds, work)
        except NotInTime:
            raise TierUnavailable(f"no reply from the overflow bucket within {seconds:g} s") from None
        except Exception as error:  # whatever it is: the body is not to be had, or not kept (P18, P20)
            raise TierUnavailable(type(error).__name__, transient=code_in(error) in _PASSING) from None
