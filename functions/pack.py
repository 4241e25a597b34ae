"""
Zip a built artifact so that equal files make equal bytes: sorted names, one time, two modes.

    python functions/pack.py FOLDER ZIP

An unchanged build keeps its digest, so a deployment by digest changes nothing. Prints the zip, its sizes and its SHA-256.
Beside it stands NAME.cdx.json, its bill of materials: the packages that were found in it, as CycloneDX (T15).
"""

import hashlib
import json
import re
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

OLDEST = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip can name."""
FILE, PROGRAM = 0o100644, 0o100755
LIMIT_BYTES = 250 * 1024 * 1024
"""What Lambda takes unzipped, layers included."""


def pack(folder: Path, target: Path) -> int:
    """Write the zip and return the size of its files in bytes."""
    size_bytes = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
            if not path.is_file():
                continue
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), OLDEST)
            entry.create_system = 3  # the modes below are Unix's, whoever packs
            entry.external_attr = (PROGRAM if path.stat().st_mode & 0o100 else FILE) << 16
            content = path.read_bytes()
            size_bytes += len(content)
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
    return size_bytes


def materials(folder: Path, name: str, digest: str) -> dict[str, Any]:
    """
    The bill of materials of an artifact: what says in it that it was installed, whatever the lock says.

    Source: CycloneDX 1.5 JSON, and "Package URL", whose type pypi writes names in lower case with dashes.
    """
    places = {str(info.parent) for info in folder.rglob("*.dist-info")}
    found = sorted(
        {(re.sub(r"[-_.]+", "-", each.name).lower(), each.version) for each in distributions(path=sorted(places))}
    )
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}
        },
        "components": [
            {"type": "library", "name": package, "version": version, "purl": f"pkg:pypi/{package}@{version}"}
            for package, version in found
        ],
    }


def main(arguments: list[str]) -> int:
    """0 packed, 1 too large for Lambda, 2 bad input."""
    if len(arguments) != 2 or not Path(arguments[0]).is_dir():
        print("usage: python functions/pack.py FOLDER ZIP, FOLDER being what `make build` made", file=sys.stderr)
        return 2
    folder, target = map(Path, arguments)
    try:
        size_bytes = pack(folder, target)
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        bill = json.dumps(materials(folder, target.name, digest), indent=1)
        target.with_suffix(".cdx.json").write_text(bill + "\n", encoding="utf-8")
    except OSError as error:
        print(
            f"{error.filename or target}: {error.strerror}; name a folder that can be read, and a file that can be written",
            file=sys.stderr,
        )
        return 2
    print(
        f"{target}  {target.stat().st_size / 2**20:.1f} MB zipped, {size_bytes / 2**20:.1f} MB unzipped, sha256 {digest[:16]}"
    )
    if size_bytes > LIMIT_BYTES:
        print(f"{target} is larger than the 250 MB that Lambda takes", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
