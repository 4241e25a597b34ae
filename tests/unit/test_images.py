"""Page images: which are read, what they amount to, and that nothing half-read ever counts."""

import hashlib
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from fakes import ACCOUNT, BUCKET, FakeClock, FakeS3, ocr_event
from hookcache import images
from hookcache.errors import Unkeyable
from hookcache.images import CHUNK_BYTES, IMAGE_BYTES, ImageReader, account_of
from hookcache.outcome import Reason
from hookcache.request import ImageRef
from hookcache.spending import Spending

FOLDER = f"s3://{BUCKET}/temp/lambdahook"


class Desk:
    """An image reader over a fake bucket."""

    def __init__(self, *prefixes: str) -> None:
        self.clock = FakeClock()
        self.s3 = FakeS3(self.clock)
        self.spending = Spending()
        self.reader = ImageReader(lambda: self.s3, prefixes or (FOLDER,), self.clock, self.spending)

    def put(self, data: bytes, name: str = "page.jpeg", owner: str | None = None) -> ImageRef:
        self.s3.put_object(Bucket=BUCKET, Key=f"temp/lambdahook/{name}", Body=data)
        return ImageRef(f"{FOLDER}/{name}", owner)

    def refused(self, *images: ImageRef, account: str | None = None) -> Reason:
        with pytest.raises(Unkeyable) as caught:
            self.reader.digest(images, account)
        return caught.value.reason


@pytest.fixture
def desk() -> Desk:
    return Desk()


class TestDigests:
    def test_an_image_is_all_its_bytes(self, desk):
        """P4: SHA-256 and length of the whole object, larger than one read."""
        data = bytes(range(256)) * 4096

        (digest,) = desk.reader.digest([desk.put(data)])

        assert (hashlib.sha256(data).digest(), len(data)) == (digest.sha256, digest.size_bytes)

    def test_pages_with_equal_beginnings_differ(self, desk):
        """P4, B10, S5: scans share their headers; the last byte counts like the first."""
        head = b"\xff\xd8" + b"\x00" * 65_536
        one, other = desk.reader.digest([desk.put(head + b"1", "1"), desk.put(head + b"2", "2")])

        assert one.sha256 != other.sha256

    def test_equal_bytes_under_other_names_are_one_image(self, desk):
        """P4, S6: the host names each upload at random; neither name, ETag nor version counts."""
        one, other = desk.reader.digest([desk.put(b"page", "1"), desk.put(b"page", "2")])

        assert (one.sha256, one.size_bytes) == (other.sha256, other.size_bytes)
        assert one.etag != other.etag

    def test_the_same_name_with_other_bytes_is_another_image(self, desk):
        """P4, S7: a file name stands for nothing."""
        reference = desk.put(b"page 1")
        (one,) = desk.reader.digest([reference])
        desk.put(b"page 2")
        (other,) = desk.reader.digest([reference])

        assert one.sha256 != other.sha256

    def test_digests_come_in_the_order_of_the_images(self, desk):
        """P4, S8: one per image in order of position, equal references read once."""
        references = [desk.put(f"page {number}".encode(), str(number)) for number in range(20)]
        asked = [*references, references[3]]
        desk.s3.calls.clear()

        digests = desk.reader.digest(asked)

        assert [hashlib.sha256(f"page {n}".encode()).digest() for n in [*range(20), 3]] == [d.sha256 for d in digests]
        assert 20 == desk.s3.count("get_object")

    def test_no_images_cost_nothing(self, desk):
        """P56: a text request reads nothing."""
        assert () == desk.reader.digest([])
        assert [] == desk.s3.calls

    def test_each_read_is_counted(self, desk):
        """P56: own S3 requests are on the receipt."""
        desk.reader.digest([desk.put(b"1", "1"), desk.put(b"2", "2")])

        assert {"s3_requests": 2} == desk.spending.take()


class TestUnreadable:
    @pytest.mark.parametrize("way", ["forbidden", "missing", "cut", "ended", "slow", "empty", "oversized", "endless"])
    def test_an_image_that_cannot_be_read_whole(self, desk, way):
        """P42, S16, B9, F28: 403, 404, cut, slow, empty, over the bound: never a key, never an empty digest."""
        reference = desk.put(b"page" * 400_000)
        desk.s3.misbehave(way)

        assert desk.refused(reference) is Reason.IMAGE_UNREADABLE

    @pytest.mark.parametrize("way", ["", "behaving"])
    def test_an_image_that_can(self, desk, way):
        """P42, control: the same image from a bucket that behaves."""
        reference = desk.put(b"page" * 400_000)
        desk.s3.misbehave(way)

        assert 1_600_000 == desk.reader.digest([reference])[0].size_bytes

    @pytest.mark.parametrize(
        "error",
        [
            ReadTimeoutError(endpoint_url="https://s3"),
            ConnectTimeoutError(endpoint_url="https://s3"),
            EndpointConnectionError(endpoint_url="https://s3"),
            OSError("connection reset"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_bucket_that_does_not_answer(self, desk, error):
        """P42, P18, F28: no error of the SDK leaves the reader."""
        reference = desk.put(b"page")
        desk.s3.misbehave("error", error=error)

        assert desk.refused(reference) is Reason.IMAGE_UNREADABLE

    def test_one_unreadable_image_among_many(self, desk):
        """P42: a request is keyed by all its images or not at all."""
        references = [desk.put(b"page", str(number)) for number in range(5)]
        desk.s3.misbehave("cut", "temp/lambdahook/3")

        assert desk.refused(*references) is Reason.IMAGE_UNREADABLE

    def test_reading_stops_at_the_bound(self, desk):
        """B9, P30, T10: 20 MB are an image, a byte more is none; a larger one is not read at all."""
        assert IMAGE_BYTES == desk.reader.digest([desk.put(b"\0" * IMAGE_BYTES)])[0].size_bytes
        assert desk.refused(desk.put(b"\0" * (IMAGE_BYTES + 1))) is Reason.IMAGE_UNREADABLE

    @pytest.mark.parametrize(
        ("over", "most"), [(0, IMAGE_BYTES + CHUNK_BYTES), (1, 0)], ids=["at the bound", "past it"]
    )
    def test_a_body_without_an_end_is_read_no_further_than_the_bound(self, desk, over, most):
        """B9, T10, P30: whatever length was announced; one that announces more is not read at all."""
        given = []

        class Endless:
            def readinto(self, space):
                given.append(len(space))
                return len(space)

        with pytest.raises(Unkeyable):
            desk.reader._digest_of(Endless(), IMAGE_BYTES + over, {}, lambda: False, CHUNK_BYTES)

        assert sum(given) <= most

    def test_the_bound_on_time_is_for_all_images_together(self, desk):
        """P42: ten seconds, not ten seconds each."""
        references = [desk.put(b"page", str(number)) for number in range(3)]
        desk.s3.misbehave("slow")

        assert desk.refused(*references) is Reason.IMAGE_UNREADABLE

    @pytest.mark.parametrize(("count", "most"), [(1, CHUNK_BYTES), (4, CHUNK_BYTES), (8, 98_304), (100, 24_576)])
    def test_of_many_images_less_is_held_of_each(self, desk, monkeypatch, count, most):
        """P30, G2: of all that are read at once no more than 768 KB; equal references are one image."""
        held = []
        monkeypatch.setattr(desk.reader, "_digest_of", lambda *read: held.append(read[-1]))
        references = [desk.put(b"page", str(number)) for number in range(count)]
        desk.reader.digest([*references, *references])

        assert [most] * count == held

    @pytest.mark.parametrize("way", ["", "cut", "oversized"])
    def test_what_was_opened_is_closed(self, desk, monkeypatch, way):
        """P30: also of an image that is read no further; its connection would be lost otherwise."""
        closed, get_object = [], desk.s3.get_object

        def watched(**asked):
            reply = get_object(**asked)
            body, close = reply["Body"], reply["Body"].close
            reply["Body"] = SimpleNamespace(readinto=body.readinto, close=lambda: closed.append(close()))
            return reply

        monkeypatch.setattr(desk.s3, "get_object", watched)
        reference = desk.put(b"page")
        if way:
            desk.s3.misbehave(way)
            desk.refused(reference)
        else:
            desk.reader.digest([reference])

        assert [None] == closed

    def test_who_still_reads_is_told_that_nobody_waits(self, desk):
        """P30, P42: one unreadable image ends the reading of all, long before their time is over."""
        one, other = desk.put(b"page", "1"), desk.put(b"page", "2")
        begun, refused, ended, told = threading.Event(), threading.Event(), threading.Event(), []

        def ask(image, over):
            if image == one:
                begun.wait(60)
                raise Unkeyable(Reason.IMAGE_UNREADABLE)
            told.append(over())
            begun.set()
            refused.wait(60)
            told.append(over())
            ended.set()

        with pytest.raises(Unkeyable):
            desk.reader._for_each([one, other], ask, 10)
        refused.set()
        ended.wait(60)

        assert [False, True] == told


class TestAllowList:
    @pytest.mark.parametrize(
        "uri",
        [
            "s3://other-bucket/temp/lambdahook/page.jpeg",
            f"s3://{BUCKET}/other/page.jpeg",
            f"s3://{BUCKET}/temp/lambdahook",
            f"s3://{BUCKET}/temp/lambdahook/",
            f"s3://{BUCKET}/temp/lambdahook-2/page.jpeg",
            f"s3://{BUCKET}.attacker/temp/lambdahook/page.jpeg",
            f"S3://{BUCKET}/temp/lambdahook/page.jpeg",
            f"https://{BUCKET}.s3.amazonaws.com/temp/lambdahook/page.jpeg",
            f"arn:aws:s3:::{BUCKET}/temp/lambdahook/page.jpeg",
            f"s3://arn:aws:s3:us-east-1:{ACCOUNT}:accesspoint/point/temp/lambdahook/page.jpeg",
            f" s3://{BUCKET}/temp/lambdahook/page.jpeg",
            f"s3://{BUCKET}",
            f"s3://{BUCKET}/",
            "s3://",
            "",
            "page.jpeg",
        ],
        ids=repr,
    )
    def test_another_place_is_not_read(self, desk, uri):
        """P42, B12, T8: other bucket, prefix, scheme or spelling: bypass without a read."""
        assert desk.refused(ImageRef(uri, None)) is Reason.IMAGE_NOT_ALLOWED
        assert [] == desk.s3.calls

    @pytest.mark.parametrize(
        "name",
        [
            "../page.jpeg",
            "a/../../page.jpeg",
            "..",
            "./page.jpeg",
            "a\\..\\page.jpeg",
            "page\0.jpeg",
            "page\n.jpeg",
            "page\x7f.jpeg",
            "x" * 1_009,
            "ä" * 505,
            "\ud83d.jpeg",
        ],
        ids=ascii,
    )
    def test_a_name_that_something_may_resolve_is_not_read(self, desk, name):
        """P42, B13: dot segments, backslashes, control characters, over-long names, lone surrogates."""
        assert desk.refused(ImageRef(f"{FOLDER}/{name}", None)) is Reason.IMAGE_NOT_ALLOWED
        assert [] == desk.s3.calls

    @pytest.mark.parametrize(
        "name",
        ["%2e%2e%2fpage.jpeg", "a#b", "a?versionId=1", "a b", "p\u0430ge.jpeg", "..page", "x" * 1_008, "ä" * 504],
    )
    def test_a_name_is_taken_as_it_is_written(self, desk, name):
        """B13: nothing is decoded or normalised; `%2e` is three letters, `#` and `?` belong to the name."""
        reference = desk.put(b"page", name)
        desk.reader.digest([reference])

        assert f"temp/lambdahook/{name}" == desk.s3.calls[-1][1]["Key"]

    def test_one_reference_outside_keeps_the_others_from_being_read(self, desk):
        """P42: judged before any read."""
        assert desk.refused(desk.put(b"page"), ImageRef("s3://other/1", None)) is Reason.IMAGE_NOT_ALLOWED
        assert 0 == desk.s3.count("get_object")

    def test_an_empty_list_allows_nothing(self):
        """P42, T8: what the operator did not name is not read."""
        desk = Desk("s3://elsewhere/")

        assert desk.refused(desk.put(b"page")) is Reason.IMAGE_NOT_ALLOWED

    @pytest.mark.parametrize("prefix", [FOLDER, FOLDER + "/", f"s3://{BUCKET}/", f"s3://{BUCKET}"])
    def test_an_entry_names_a_whole_folder(self, prefix):
        """P42, control: with and without the slash at its end."""
        desk = Desk(prefix)

        assert 4 == desk.reader.digest([desk.put(b"page")])[0].size_bytes


class TestOwner:
    @pytest.mark.parametrize(
        ("told", "account", "expected"),
        [
            (ACCOUNT, None, ACCOUNT),
            (ACCOUNT, "999999999999", ACCOUNT),
            (None, ACCOUNT, ACCOUNT),
            ("", ACCOUNT, ACCOUNT),
            ("1234", ACCOUNT, ACCOUNT),
            ("\u0663" * 12, ACCOUNT, ACCOUNT),
            (None, None, None),
        ],
    )
    def test_the_owner_is_named_where_one_is_known(self, desk, told, account, expected):
        """T8, B12: the host's word if it is an account, else our own account; when it is read, and when it is looked at again."""
        images = [desk.put(b"page", owner=told)]
        digests = desk.reader.digest(images, account)
        desk.reader.unchanged(images, digests, account)

        assert ["get_object", "head_object"] == [operation for operation, _ in desk.s3.calls[1:]]
        for _, asked in desk.s3.calls[1:]:
            assert ({"ExpectedBucketOwner"} if expected else set()) == asked.keys() - {"Bucket", "Key"}
            assert expected == asked.get("ExpectedBucketOwner")

    def test_a_bucket_of_another_account_is_not_read(self, desk):
        """P42, B12: wrong owner."""
        reference = desk.put(b"page")
        desk.s3.owner = "999999999999"

        assert desk.refused(reference, account=ACCOUNT) is Reason.IMAGE_UNREADABLE

    @pytest.mark.parametrize(
        ("arn", "account"),
        [
            (f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:wrapper", ACCOUNT),
            (f"arn:aws-us-gov:lambda:us-gov-west-1:{ACCOUNT}:function:wrapper:live", ACCOUNT),
            ("arn:aws:lambda:us-east-1:1234:function:wrapper", None),
            (f"arn:aws:iam:us-east-1:{ACCOUNT}:function:wrapper", None),
            ("wrapper", None),
            (None, None),
        ],
    )
    def test_our_own_account_is_that_of_the_function_that_was_invoked(self, arn, account):
        """T8: none where it cannot be read."""
        assert account == account_of(SimpleNamespace(invoked_function_arn=arn))
        assert account_of(None) is None

    def test_the_hook_names_its_own_account(self, rig):
        """T8, B12: a bucket that somebody else owns meanwhile is neither digested nor asked about, now or for a retry."""
        event = ocr_event(rig.image(b"page"))
        rig.s3.calls.clear()
        rig.call(event)
        rig.call(event)
        asked = [(operation, told.get("ExpectedBucketOwner")) for operation, told in rig.s3.calls]
        rig.s3.owner = "999999999999"
        rig.call(event)

        assert [("get_object", ACCOUNT), ("head_object", ACCOUNT), ("head_object", ACCOUNT)] == asked
        assert ("bypass", "image_unreadable") == (rig.last["outcome"], rig.last["reason"])


class TestUnchanged:
    def test_an_image_that_stayed(self, desk):
        """P15, control: nothing happened between digest and store."""
        references = [desk.put(b"page", str(number)) for number in range(3)]

        assert desk.reader.unchanged(references, desk.reader.digest(references))

    @pytest.mark.parametrize("data", [b"other", b"page"], ids=["other bytes", "same bytes, new version"])
    def test_an_image_that_was_replaced(self, desk, data):
        """P15, F29, T6: ETag or version changed between digest and store."""
        references = [desk.put(b"page", "1"), desk.put(b"page", "2")]
        digests = desk.reader.digest(references)
        desk.put(data, "2")

        assert not desk.reader.unchanged(references, digests)

    def test_an_image_that_was_replaced_in_a_bucket_without_versions(self, desk):
        """P15: its ETag alone tells."""
        desk.s3.versioned.clear()
        reference = desk.put(b"page")
        digests = desk.reader.digest([reference])
        assert desk.reader.unchanged([reference], digests)
        desk.put(b"other")

        assert not desk.reader.unchanged([reference], digests)

    def test_an_image_of_another_version_under_the_same_etag(self, desk):
        """P15: its version alone tells; under some encryptions an ETag is no digest."""
        reference = desk.put(b"page")
        digests = desk.reader.digest([reference])
        ((place, stored),) = desk.s3.objects.items()
        desk.s3.objects[place] = replace(stored, version="another")

        assert not desk.reader.unchanged([reference], digests)

    def test_an_image_without_an_etag_counts_as_changed(self, desk):
        """P15: a bucket that never had versions may tell them all as `null`, and nothing told apart nothing."""
        reference = desk.put(b"page")
        ((place, stored),) = desk.s3.objects.items()
        desk.s3.objects[place] = replace(stored, etag="", version="null")
        digests = desk.reader.digest([reference])

        assert not desk.reader.unchanged([reference], digests)

    @pytest.mark.parametrize("way", ["forbidden", "missing"])
    def test_an_image_that_cannot_be_asked_about_counts_as_changed(self, desk, way):
        """P15: an answer is kept only if its images are known to be the same."""
        reference = desk.put(b"page")
        digests = desk.reader.digest([reference])
        desk.s3.misbehave(way)

        assert not desk.reader.unchanged([reference], digests)

    def test_an_image_that_is_asked_about_for_too_long_counts_as_changed(self, desk, monkeypatch):
        """P15, P42: the answer is there and waits for this."""
        reference = desk.put(b"page")
        digests = desk.reader.digest([reference])
        monkeypatch.setattr(images, "CHECK_SECONDS", 0.01)
        told = threading.Event()
        monkeypatch.setattr(desk.s3, "before", lambda *_: told.wait(60))
        unchanged = desk.reader.unchanged([reference], digests)
        told.set()

        assert not unchanged

    def test_each_look_is_counted(self, desk):
        """P56: S3 charges it like a read."""
        reference = desk.put(b"page")
        digests = desk.reader.digest([reference])
        desk.spending.take()
        desk.reader.unchanged([reference], digests)

        assert {"s3_requests": 1} == desk.spending.take()
