"""The overflow bucket: what it gives, when it counts as in trouble, and what that means to those who wait."""

import threading
from types import SimpleNamespace

import pytest

from fakes import OVERFLOW_BUCKET, FakeS3, refusal
from hookcache import overflow
from hookcache.errors import TierUnavailable
from hookcache.overflow import GONE, HIDDEN, Overflow
from hookcache.spending import Spending


class Bucket:
    """An overflow tier over a fake S3 that holds one body of ten bytes."""

    def __init__(self) -> None:
        self.s3, self.spending = FakeS3(), Spending()
        self.tier = Overflow(lambda: self.s3, OVERFLOW_BUCKET, self.spending)
        self.s3.put_object(Bucket=OVERFLOW_BUCKET, Key="name", Body=b"0123456789")

    def answers(self, operation: str, reply: object) -> None:
        """From now on every call of `operation` gives `reply`, or raises it."""

        def do(**_: object) -> object:
            if isinstance(reply, BaseException):
                raise reply
            return reply

        setattr(self.s3, operation, do)


@pytest.fixture
def bucket():
    bucket = Bucket()
    yield bucket
    bucket.tier.close()


@pytest.mark.parametrize(("size", "content"), [(10, b"0123456789"), (11, b"0123456789"), (4, b"01234")])
def test_a_body_is_read_to_one_byte_more_than_it_should_have(bucket, size, content):
    """P49, P30: enough to see that it is too long, and no more of it."""
    assert content == bucket.tier.get("name", size)


@pytest.mark.parametrize(
    ("code", "gone", "empty"),
    [
        ("NoSuchKey", GONE, True),
        ("404", GONE, True),
        ("AccessDenied", GONE, False),
        ("AccessDenied", HIDDEN, True),
        ("403", HIDDEN, True),
        ("NoSuchKey", HIDDEN, True),
        ("SlowDown", HIDDEN, False),
        ("NoSuchBucket", HIDDEN, False),
    ],
)
def test_an_object_that_is_not_there_is_no_trouble_of_the_bucket(bucket, code, gone, empty):
    """P49, P18: a miss and refill; whoever may not list a bucket is told no more than that it may not read."""
    bucket.answers("get_object", refusal(code))
    if empty:
        assert b"" == bucket.tier.get("name", 10, gone)
    else:
        with pytest.raises(TierUnavailable, match="ClientError"):
            bucket.tier.get("name", 10, gone)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (refusal("SlowDown"), True),
        (refusal("InternalError"), True),
        (refusal("RequestTimeout"), True),
        (refusal("ServiceUnavailable"), True),
        (OSError("reset"), True),
        (refusal("AccessDenied"), False),
        (refusal("NoSuchBucket"), False),
        (refusal("KMS.DisabledException"), False),
    ],
    ids=lambda each: str(getattr(each, "response", each))[:40],
)
def test_trouble_that_passes_is_told_from_trouble_that_stays(bucket, error, passes):
    """P48: nobody queues for what cannot be stored; behind what passes they do."""
    bucket.answers("put_object", error)
    with pytest.raises(TierUnavailable) as caught:
        bucket.tier.put("name", b"body")

    assert passes == caught.value.transient


def test_a_bucket_that_does_not_answer_is_waited_for_so_long_and_no_longer(bucket, monkeypatch):
    """P18, F3: the bound is on the whole, not on one read of a socket."""
    monkeypatch.setattr(overflow, "OBJECT_SECONDS", 0.01)
    monkeypatch.setattr(overflow, "DELETE_SECONDS", 0.01)
    told = threading.Event()
    bucket.s3.before = lambda *_: told.wait(60)
    try:
        with pytest.raises(TierUnavailable, match=r"within 0\.01 s"):
            bucket.tier.get("name", 10)
        with pytest.raises(TierUnavailable, match=r"within 0\.01 s"):
            bucket.tier.put("other", b"body")
        assert not bucket.tier.delete("name")
    finally:
        told.set()


@pytest.mark.parametrize(("said", "whole"), [(10, False), (9, True), (5_000, False)])
def test_a_body_that_came_in_part_is_trouble_and_no_short_body(bucket, said, whole):
    """P49: a short one would be a corrupt entry, and an alarm; what was read is closed in any case (P30)."""
    closed = []
    body = SimpleNamespace(read=lambda most: b"123456789", close=lambda: closed.append(True))
    bucket.answers("get_object", {"Body": body, "ContentLength": said})
    if whole:
        assert b"123456789" == bucket.tier.get("name", 10)
    else:
        with pytest.raises(TierUnavailable, match="EOFError"):
            bucket.tier.get("name", 10)

    assert [True] == closed


def test_what_is_longer_than_it_should_be_did_not_come_in_part(bucket):
    """P49: the entry's own length tells; the bucket is well."""
    bucket.s3.put_object(Bucket=OVERFLOW_BUCKET, Key="name", Body=b"0" * 100)
    reply = bucket.s3.get_object(Bucket=OVERFLOW_BUCKET, Key="name")
    bucket.answers("get_object", reply | {"ContentLength": 100})

    assert b"0" * 11 == bucket.tier.get("name", 10)


def test_an_object_is_gone_or_it_is_told(bucket):
    """P49, P46: an erase counts on the word."""
    assert bucket.tier.delete("name") is True
    assert [] == bucket.s3.names(OVERFLOW_BUCKET)

    bucket.answers("delete_object", refusal("AccessDenied"))
    assert bucket.tier.delete("name") is False


def test_each_request_is_counted_at_its_own_price(bucket):
    """P56: a put costs a dozen reads, and an object under a KMS key one request of KMS more."""
    own = {"ServerSideEncryption": "aws:kms"}
    reply = bucket.s3.get_object(Bucket=OVERFLOW_BUCKET, Key="name")
    bucket.answers("get_object", reply | own)
    bucket.tier.get("name", 10)
    assert {"s3_requests": 1, "kms_requests": 1} == bucket.spending.take()

    bucket.answers("put_object", own | {"BucketKeyEnabled": True})
    bucket.tier.put("name", b"body")
    assert {"s3_put_requests": 1} == bucket.spending.take()
