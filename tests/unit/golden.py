"""
The golden keys: requests whose keys may never change under one schema version (P43).

`python tests/unit/golden.py` prints the keys of all cases, one a line; with `--pin` it writes them into the file, which is
right only together with a new `SCHEMA`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from hookcache.canonical import canonical_form
from hookcache.images import ImageDigest
from hookcache.key import Keyer, Secrets
from hookcache.request import parse

FILE = Path(__file__).with_name("golden_keys.json")


def cases() -> list[dict[str, Any]]:
    """Name, event, contents of its images as text, what it shares its key with, and the parts beside it; with the key."""
    listed: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="ascii"))["cases"]
    return listed


def key_of(case: dict[str, Any]) -> str:
    digests = [
        ImageDigest(hashlib.sha256(text.encode()).digest(), len(text.encode()), "", "") for text in case["images"]
    ]
    beside = case["beside"]
    keyer = Keyer(Secrets.derive(beside["secret"].encode()), beside["namespace"])
    form = canonical_form(parse(case["event"]), digests)
    return keyer.key_of(form, bytes.fromhex(beside["identity"]), beside["generation"], beside["rollout"]).hex()


def main(arguments: list[str]) -> None:
    listed = cases()
    for case in listed:
        print(key_of(case))
    if arguments == ["--pin"]:
        text = json.dumps({"cases": [case | {"key": key_of(case)} for case in listed]}, indent=1)
        FILE.write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main(sys.argv[1:])
