"""F28, F29: page images that cannot be read whole, or change under way. P15, P42; over sockets where sockets matter."""

from __future__ import annotations

import hashlib
import uuid

import pytest
from fault_proxy import AwsError, FaultProxy, Faults
from sockets import client

from fakes import BUCKET, ocr_event
from hookcache.images import CHECK_SECONDS, READ_SECONDS, ImageDigest, ImageReader
from rig import metric

PINNED = {"HOOKCACHE_IDENTITY": "pinned"}


@pytest.fixture
def bucket_proxy(object_engine):
    with FaultProxy(object_engine) as proxy:
        yield proxy


@pytest.fixture
def with_s3(sockets, object_engine, bucket_proxy, monkeypatch):
    """A rig whose S3 is moto behind a proxy of its own; `upload` puts an image there, past the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket_proxy.url)
    rig = sockets()
    rig.clients.over_sockets.add("s3")
    direct = client("s3", object_engine)
    direct.create_bucket(Bucket=BUCKET)

    def upload(data: bytes) -> str:
        key = f"temp/lambdahook/{uuid.uuid4().hex}.jpeg"
        direct.put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    rig.upload = upload
    rig.replace = lambda uri, data: direct.put_object(Bucket=BUCKET, Key=uri.split("/", 3)[3], Body=data)
    return rig


PAGE = bytes(range(256)) * 1024  # 256 KB


class TestAnImageThatCannotBeRead:
    REFUSALS = (
        AwsError("GET /", "AccessDenied", 403),
        AwsError("GET /", "NoSuchKey", 404),
        AwsError("GET /", "SlowDown", 503),
        AwsError("GET /", "KMS.DisabledException", 400),
    )

    @pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.code)
    def test_refused(self, with_s3, bucket_proxy, error):
        """F28, P42: no key is made, the backend is asked, the alarm's metric counts."""
        uri = with_s3.upload(PAGE)
        bucket_proxy.behave(Faults(errors=(error,)))
        with_s3.call(ocr_event(uri))

        assert ("bypass", "image_unreadable", "") == tuple(
            with_s3.last[name] for name in ("outcome", "reason", "key_id")
        )
        assert 1 == metric(with_s3.last, "ImageErrors")
        assert [] == with_s3.stored("LEASE")

    @pytest.mark.parametrize("faults", [Faults(cut=1.0), Faults(reset=1.0)], ids=["cut", "reset"])
    def test_cut(self, with_s3, bucket_proxy, faults):
        """F28, S16: the connection ends in the middle of the body."""
        uri = with_s3.upload(PAGE)
        bucket_proxy.behave(faults)
        with_s3.call(ocr_event(uri))

        assert ("bypass", "image_unreadable") == (with_s3.last["outcome"], with_s3.last["reason"])

    @pytest.mark.parametrize("faults", [Faults(bytes_per_second=20_000), Faults(hang=True)], ids=["trickle", "hang"])
    @pytest.mark.parametrize("images", [1, 3])
    def test_slow(self, with_s3, bucket_proxy, monkeypatch, faults, images):
        """F28: a body that trickles, or nothing at all: the bound holds for all images together (here 1 s)."""
        monkeypatch.setattr("hookcache.images.READ_SECONDS", 1.0)
        uris = [with_s3.upload(PAGE + bytes([number])) for number in range(images)]
        bucket_proxy.behave(faults)
        cost = with_s3.timed(ocr_event(*uris))

        assert cost < 4, "unbounded it takes 13 s"
        assert "image_unreadable" == with_s3.last["reason"]

    def test_control_a_read_timeout_does_not_bound_a_trickle(self, with_s3, bucket_proxy, monkeypatch):
        """F28, Control: bytes that keep coming keep every timeout of the socket from firing."""
        monkeypatch.setattr("hookcache.images.READ_SECONDS", 60.0)
        uri = with_s3.upload(PAGE[:60_000])
        bucket_proxy.behave(Faults(bytes_per_second=20_000))

        assert with_s3.timed(ocr_event(uri)) > 2.0

    def test_control_a_digest_of_partial_bytes_is_a_false_hit(self, make_rig, monkeypatch):
        """F28, Control: two pages with equal first halves, cut in the middle, get one key."""

        def partial(reader, body, expected, reply, over, chunk_bytes):
            digest = hashlib.sha256()
            while chunk := _readable(body):
                digest.update(chunk)
            return ImageDigest(digest.digest(), expected, reply["ETag"], reply.get("VersionId", ""))

        rig = make_rig(**PINNED)
        pages = [rig.image(b"the same head" * 100 + tail * 1300) for tail in (b"a", b"b")]
        monkeypatch.setattr(ImageReader, "_digest_of", partial)
        monkeypatch.setattr(ImageReader, "unchanged", lambda *_: True)
        rig.s3.misbehave("cut")
        for page in pages:
            rig.call(ocr_event(page))

        assert ["miss", "hit_memory"] == rig.outcomes

    def test_the_same_cut_pages_are_never_keyed(self, make_rig):
        """F28: what the control shows, with the guard in."""
        rig = make_rig(**PINNED)
        pages = [rig.image(b"the same head" * 100 + tail * 1300) for tail in (b"a", b"b")]
        rig.s3.misbehave("cut")
        for page in pages:
            rig.call(ocr_event(page))

        assert ["image_unreadable"] * 2 == [receipt["reason"] for receipt in rig.receipts]


def _readable(body) -> bytes:
    try:
        return body.read(512)
    except Exception:
        return b""


class TestAnImageThatChanges:
    def swapped(self, rig) -> None:
        """The object is replaced while the backend reads the page."""
        uri = rig.image(b"first picture", name=f"temp/lambdahook/{uuid.uuid4().hex}.jpeg")
        answer = rig.backend.handler

        def handler(event):
            rig.image(b"second picture", name=uri.split("/", 3)[3])
            return answer(event)

        rig.backend.handler = handler
        rig.call(ocr_event(uri))
        rig.backend.handler = answer
        again = rig.image(b"first picture")
        rig.call(ocr_event(again))

    def test_the_answer_is_returned_and_not_stored(self, make_rig):
        """F29, P15: the key would name a picture that the backend did not see."""
        rig = make_rig(**PINNED)
        self.swapped(rig)

        assert ["image_changed", ""] == [receipt["refusal"] for receipt in rig.receipts]
        assert ["miss", "miss"] == rig.outcomes

    def test_control_without_the_check_an_old_key_has_a_new_picture(self, make_rig, monkeypatch):
        """F29, Control."""
        monkeypatch.setattr(ImageReader, "unchanged", lambda *_: True)
        rig = make_rig(**PINNED)
        self.swapped(rig)

        assert ["miss", "hit_memory"] == rig.outcomes

    def test_a_check_that_hangs_does_not_hold_the_answer(self, with_s3, bucket_proxy, monkeypatch):
        """F29, P20: S3 stops answering once the answer is there; it counts as changed, within the bound (here 0.5 s)."""
        monkeypatch.setattr("hookcache.images.CHECK_SECONDS", 0.5)
        uri = with_s3.upload(PAGE)
        bucket_proxy.behave(Faults(hang=True, operation="HEAD"))
        cost = with_s3.timed(ocr_event(uri))

        assert cost < 4, "unbounded it takes 10 s"
        assert ("miss", "image_changed") == (with_s3.last["outcome"], with_s3.last["refusal"])

    def test_the_bounds_are_what_the_documents_say(self):
        """docs/operations.md names them."""
        assert (10.0, 3.0) == (READ_SECONDS, CHECK_SECONDS)
