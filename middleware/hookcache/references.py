"""
Inputs by reference: members of the event that name an S3 prefix and hold a page in place of an image block (P41).

Only what the operator lists in `resolve_references` is resolved. `pageOutputUri` of the CDK flavour's bridge is such a
member: below it lie `image.jpg` and `rawText.json`, and both are the page. Their bytes take the URI's place in the key;
which may be read is the allow-list's word, as for images.
"""

from __future__ import annotations

from collections.abc import Collection

from hookcache.request import HookRequest, ImageRef
from hookcache.value import replace

PAGE_FILES = ("image.jpg", "rawText.json")
"""What lies below a page's prefix. Source: the CDK flavour's page output, as its SageMaker bridge reads it."""


def with_references(request: HookRequest, names: Collection[str]) -> HookRequest:
    """`request` with the objects behind the listed members added to what must be read, in order of name."""
    if not names:
        return request
    named = tuple(sorted({name for name in names if isinstance(request.event.get(name), str)}))
    if not named:
        return request
    objects = (
        ImageRef(f"{prefix}{file}", None)
        for prefix in (_folder(request.event[name]) for name in named)
        for file in PAGE_FILES
    )
    return replace(request, references=named, images=(*request.images, *objects))


def _folder(uri: str) -> str:
    return uri if uri.endswith("/") else f"{uri}/"
