"""Checks of the page images: may they be read, by address and by key."""

from __future__ import annotations

from collections.abc import Iterator

from hookcache.settings import PREFIX
from hookcache_ops.doctor.finding import Finding, error, warning
from hookcache_ops.doctor.patient import Patient

UPLOADS = "temp/lambdahook/"
"""Where the host uploads images for hooks, in its working bucket."""


def prefixes(patient: Patient) -> Iterator[Finding]:
    """P42, T8: the allow-list reaches what the host uploads, and no more."""
    if patient.settings is None:
        return
    allowed = [prefix if prefix.endswith("/") else prefix + "/" for prefix in patient.settings.image_prefixes]
    if not allowed:
        yield error(
            "no_image_prefix",
            f"{PREFIX}IMAGE_PREFIXES is not set: every request with an image goes past the cache",
            f"set it to s3://WORKING-BUCKET/{UPLOADS}",
        )
        return
    bucket = patient.working_bucket
    if bucket and not any(f"s3://{bucket}/{UPLOADS}".startswith(prefix) for prefix in allowed):
        yield error(
            "images_not_covered",
            f"the host uploads to s3://{bucket}/{UPLOADS}, which {PREFIX}IMAGE_PREFIXES does not reach",
            f"add s3://{bucket}/{UPLOADS} to it",
        )
    if not bucket and not any(UPLOADS.startswith(prefix.split("/", 3)[3]) for prefix in allowed):
        yield warning(
            "images_not_covered",
            f"no prefix in {PREFIX}IMAGE_PREFIXES reaches {UPLOADS}, where hosts upload images for hooks",
            f"set it to s3://WORKING-BUCKET/{UPLOADS}",
        )
    for prefix in allowed:
        if prefix.count("/") == 3:
            yield warning(
                "image_prefix_wide",
                f"{prefix} lets a request name any object of that bucket",
                f"narrow it to {prefix}{UPLOADS}, or to the folder that pages lie in",
            )


def buckets(patient: Patient) -> Iterator[Finding]:
    """P42: the buckets are there, and the key of each can be used."""
    if patient.settings is None:
        return
    for bucket in patient.image_buckets:
        if patient.ask(f"the bucket {bucket}", "s3", "head_bucket", Bucket=bucket) is None:
            yield error(
                "image_bucket_missing",
                f"there is no bucket {bucket}: every request with an image goes past the cache",
                f"correct {PREFIX}IMAGE_PREFIXES",
            )
            continue
        key = patient.bucket_key(bucket)
        if not key:
            continue
        found = patient.ask(f"the key of bucket {bucket}", "kms", "describe_key", KeyId=key)
        state = found["KeyMetadata"]["KeyState"] if found else "missing"
        if state != "Enabled":
            yield error(
                "image_key_unusable",
                f"the key of bucket {bucket} is {state}: no image can be read",
                "enable the key, or cancel its deletion",
            )
