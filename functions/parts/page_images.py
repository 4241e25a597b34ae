"""The images of the host's request, fetched from its working bucket; never less than all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aws_errors import code_of, may_pass
from backend_errors import NoImageError, OutOfTimeError, ServiceFailedError
from botocore.exceptions import BotoCoreError, ClientError
from deadline import Deadline, within
from prompt_blocks import blocks_of, is_image, messages_of, text_of

FORMATS = ("jpeg", "png", "gif", "webp")  # Converse names; each is also the name after `image/` in a media type


@dataclass(frozen=True, slots=True)
class PageImage:
    """One image as it lies in the bucket; `format` is one of `FORMATS`."""

    data: bytes
    format: str

    @property
    def media_type(self) -> str:
        return f"image/{self.format}"


def require_images(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """
    The image blocks of all messages in reading order, for a backend that reads images and has no place for texts.

    Raises:
        BadRequestError: there are no messages, or a block is neither text nor image.
        NoImageError: there is no image.
    """
    blocks = [block for message in messages_of(event, blanks=True) for block in blocks_of(message, "content")]
    for block in blocks:
        if not is_image(block):
            text_of(block)  # refuses another kind, which may be a page of its own
    images = [block["image"] for block in blocks if is_image(block)]
    if not images:
        raise NoImageError("the request holds no image: put {DOCUMENT_IMAGE} into the host's OCR task prompt")
    return images


def fetch(s3: Any, image: Mapping[str, Any]) -> PageImage:
    """
    The image behind one block.

    Args:
        s3: a boto3 S3 client.

    Raises:
        NoImageError: no S3 location, an unknown format or owner, denied, gone or empty; the message names the remedy.
        ServiceFailedError: S3 is busy, failing or out of reach, or broke off: a later attempt may get the image, and no
            `negative_errors` may hold it back.
    """
    bucket, key = bucket_and_key(address(image))
    if image.get("format") not in FORMATS:
        raise NoImageError(f"an image is of an unknown format: send {', '.join(FORMATS)}")
    location = image["source"]["s3Location"]
    account = location.get("bucketOwner")
    if account and not (isinstance(account, str) and account.isascii()):  # the SDK fails at it in a way of its own
        raise NoImageError("an image's bucketOwner is no account's number: check what the host sends")
    owner = {"ExpectedBucketOwner": account} if account else {}
    try:
        answer = s3.get_object(Bucket=bucket, Key=key, **owner)
        data = bytes(answer["Body"].read())
    except (ClientError, BotoCoreError) as error:
        if may_pass(error):
            raise ServiceFailedError(
                f"S3 is busy, failing or out of reach ({code_of(error)}): try again later, or check this function's network"
            ) from None
        raise NoImageError(
            f"S3 did not give the page image ({code_of(error)}): this function needs s3:GetObject on temp/lambdahook/* "
            "of the working bucket, and kms:Decrypt on its key"
        ) from None
    if not data:
        raise NoImageError("a page image is empty: check what the host uploads to its working bucket")
    return PageImage(data, image["format"])


def fetcher(s3: Any, deadline: Deadline) -> Callable[[Mapping[str, Any]], PageImage]:
    """
    `fetch` that ends before the invocation does.

    Raises, when called:
        OutOfTimeError: S3 did not answer in time.
    """

    def fetched(image: Mapping[str, Any]) -> PageImage:
        left = deadline.left()
        try:
            return within(left, lambda: fetch(s3, image))
        except TimeoutError:
            raise OutOfTimeError(
                f"S3 did not give a page image in the {left:.0f} s that were left: raise the function's timeout"
            ) from None

    return fetched


def address(image: Mapping[str, Any]) -> str:
    """
    Where the image lies, as `s3://bucket/key`.

    Raises:
        NoImageError: it came without such an address.
    """
    source = image.get("source")
    location = source.get("s3Location") if isinstance(source, dict) else None
    told = str(location.get("uri", "")) if isinstance(location, dict) else ""
    bucket, key = bucket_and_key(told)
    if not bucket or not key.strip("/") or not _utf8(told):
        raise NoImageError("an image came without its S3 location: check that the host can write to its working bucket")
    return told


def _utf8(told: str) -> bool:
    """Half a character, which JSON may spell, has no form in any key of S3."""
    return told == told.encode("utf-8", "ignore").decode()


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`, empty where it is none; `?` and `#` are letters of a key like any other."""
    scheme, _, place = uri.partition("://")
    bucket, _, key = place.partition("/")
    return (bucket, key) if scheme.lower() == "s3" else ("", "")
