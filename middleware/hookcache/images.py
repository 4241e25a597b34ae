"""
Page images: which references may be read, and what their bytes amount to.

An image counts by all its bytes, never by name or ETag (P4): the host gives it a fresh random name at every call. Bytes
are hashed while they arrive and are not kept; several images are fetched at once.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Sequence

from hookcache.bounded import NotInTime, Workers
from hookcache.clock import Clock
from hookcache.errors import Unkeyable
from hookcache.hints import Any, TypeVar
from hookcache.outcome import Reason
from hookcache.request import ImageRef
from hookcache.spending import Spending
from hookcache.value import value

IMAGE_BYTES = 20 * 1024 * 1024
READ_SECONDS = 10.0
"""Bound on all images of one request together; slower is `image_unreadable`, and the backend is asked."""
CHECK_SECONDS = 3.0
"""Bound on asking whether they changed; slower counts as changed. The answer is there by then and waits for this."""
PARALLEL = 32
"""Images read at once by one environment."""
HELD_BYTES = 768 * 1024
"""Of all images that one request reads at once; with a connection's buffer each, 1 MB is held at most (G2)."""
CHUNK_BYTES = 192 * 1024
"""Of one image at most: larger ones leave the processor's cache before they are digested."""

_ACCOUNT = re.compile(r"[0-9]{12}")
_ARN_ACCOUNT = re.compile(r"arn:[^:]+:lambda:[^:]*:([0-9]{12}):")
_MAX_KEY_BYTES = 1_024
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]|(?:^|/)\.{1,2}(?:/|$)")
_Result = TypeVar("_Result")
_Over = Callable[[], bool]


@value
class ImageDigest:
    """
    What an image is (`sha256`, 32 bytes, and `size_bytes`) and which object version was read (`etag`, `version`).

    Only the first two are ever keyed; the others tell whether the object changed before the answer came (P15).
    """

    sha256: bytes
    size_bytes: int
    etag: str
    version: str


class ImageReader:
    """
    Reads and digests the images of a request from S3.

    Args:
        s3: a boto3 S3 client with short timeouts.
        prefixes: `s3://bucket/folder` entries; nothing else is ever read (P42, T8). An entry names a whole folder.
        clock: for the bound on reading time.
        spending: counts the requests made.

    `account`, in its methods, is the account that must own a bucket where the host names none (T8).
    """

    def __init__(
        self,
        s3: Callable[[], Any],
        prefixes: Sequence[str],
        clock: Clock,
        spending: Spending,
    ) -> None:
        self._s3 = s3
        self._prefixes = tuple(prefix if prefix.endswith("/") else prefix + "/" for prefix in prefixes)
        self._clock = clock
        self._spending = spending
        self._workers = Workers("hookcache-image", PARALLEL)

    def digest(
        self, images: Sequence[ImageRef], account: str | None = None, seconds: float = READ_SECONDS
    ) -> tuple[ImageDigest, ...]:
        """
        One digest per image, in order; equal references are read once.

        Raises:
            Unkeyable: `image_not_allowed`, before any read, if a reference lies outside the allow-list (B12, B13);
                `image_unreadable` if one cannot be read whole, within its bounds, in time (P42).
        """
        if not all(self.allows(image.uri) for image in images):
            raise Unkeyable(Reason.IMAGE_NOT_ALLOWED)
        chunk_bytes = min(CHUNK_BYTES, HELD_BYTES // min(PARALLEL, len(set(images)) or 1))
        return self._for_each(
            images, lambda image, over: self._read(image, account, over, chunk_bytes), min(seconds, READ_SECONDS)
        )

    def unchanged(self, images: Sequence[ImageRef], digests: Sequence[ImageDigest], account: str | None = None) -> bool:
        """True if every object still is the version that was digested (P15). An unreadable one counts as changed."""
        known = dict(zip(images, digests, strict=True))
        try:
            answers = self._for_each(
                images, lambda image, _: self._is_still(image, known[image], account), CHECK_SECONDS
            )
            return all(answers)
        except Unkeyable:
            return False

    def allows(self, uri: str) -> bool:
        """
        True if `uri` names one object inside an allowed folder, as written: nothing is decoded or normalised.

        Dot segments, backslashes and control characters are refused, since something between us and S3 may resolve them.
        """
        for prefix in self._prefixes:
            if uri.startswith(prefix):
                key = uri.split("/", 3)[3]
                try:
                    size_bytes = len(key.encode())
                except UnicodeEncodeError:
                    return False
                return len(uri) > len(prefix) and size_bytes <= _MAX_KEY_BYTES and not _UNSAFE.search(key)
        return False

    def close(self) -> None:
        """Let the worker threads end."""
        self._workers.close()

    def _for_each(
        self, images: Sequence[ImageRef], ask: Callable[[ImageRef, _Over], _Result], seconds: float
    ) -> tuple[_Result, ...]:
        """
        Ask for each distinct image, several at once, all within `seconds`; else they are unreadable.

        The bound is kept from outside: no timeout of a socket ends a body that comes byte by byte. `ask` is told when
        nobody waits any more.
        """
        distinct = list(dict.fromkeys(images))
        done = threading.Event()
        give_up = self._clock.elapsed() + seconds

        def over() -> bool:
            return done.is_set() or self._clock.elapsed() > give_up

        asked = [self._workers.begin(ask, image, over) for image in distinct]
        try:
            known = {
                image: answer.result(max(0.0, give_up - self._clock.elapsed()))
                for image, answer in zip(distinct, asked, strict=True)
            }
        except NotInTime:
            raise Unkeyable(Reason.IMAGE_UNREADABLE) from None
        finally:
            done.set()
            for answer in asked:
                answer.cancel()
        return tuple(known[image] for image in images)

    def _read(self, image: ImageRef, account: str | None, over: _Over, chunk_bytes: int) -> ImageDigest:
        try:
            self._spending.add("s3_requests", 1)
            reply = self._s3().get_object(**_where(image, account))
            self._spending.add_object(reply)
            expected = reply["ContentLength"]
            body = reply["Body"]
            try:
                return self._digest_of(body, expected, reply, over, chunk_bytes)
            finally:
                body.close()
        except Exception:  # whatever it is: the image is not to be had whole (P42)
            raise Unkeyable(Reason.IMAGE_UNREADABLE) from None

    def _digest_of(self, body: Any, expected: int, reply: Any, over: _Over, chunk_bytes: int) -> ImageDigest:
        sha256, size_bytes = hashlib.sha256(), 0
        if not 0 < expected <= IMAGE_BYTES:
            raise Unkeyable(Reason.IMAGE_UNREADABLE)
        chunk = memoryview(bytearray(min(chunk_bytes, expected + 1)))  # one byte more would show a body that goes on
        while count := body.readinto(chunk):
            sha256.update(chunk[:count])
            size_bytes += count
            if size_bytes > IMAGE_BYTES or over():
                raise Unkeyable(Reason.IMAGE_UNREADABLE)
        if size_bytes != expected:  # a cut body must never be digested (S16, F28)
            raise Unkeyable(Reason.IMAGE_UNREADABLE)
        return ImageDigest(sha256.digest(), size_bytes, reply.get("ETag", ""), reply.get("VersionId", ""))

    def _is_still(self, image: ImageRef, digest: ImageDigest, account: str | None) -> bool:
        try:
            self._spending.add("s3_requests", 1)
            reply = self._s3().head_object(**_where(image, account))
        except Exception:  # whatever it is: it cannot be said that the image is unchanged (P15)
            return False
        told = (reply.get("ETag", ""), reply.get("VersionId", ""))
        return digest.etag != "" and told == (digest.etag, digest.version)  # without a tag it cannot be said either


def _where(image: ImageRef, account: str | None) -> dict[str, str]:
    _, _, bucket, key = image.uri.split("/", 3)
    owner = image.owner if image.owner is not None and _ACCOUNT.fullmatch(image.owner) else account
    return {"Bucket": bucket, "Key": key} | ({"ExpectedBucketOwner": owner} if owner else {})


def account_of(context: Any) -> str | None:
    """The account of this function, from the ARN that it was invoked by; None where there is none to read."""
    match = _ARN_ACCOUNT.match(str(getattr(context, "invoked_function_arn", "")))
    return match[1] if match else None
