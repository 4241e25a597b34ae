"""
Fuzzing led by coverage: which bytes reach new code of hookcache (libFuzzer through atheris).

    python tests/fuzz/guided.py entry --seconds 40

Exit status 0 if nothing was found; otherwise the bytes that did it are printed, to become an `@example` and a unit test.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "middleware"), str(ROOT / "tests")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=30)
    given = parser.parse_args()

    with atheris.instrument_imports(include=["hookcache"]):
        from fuzz.targets import TARGETS
    if given.target not in TARGETS:
        parser.error(f"no target {given.target}; known are {', '.join(TARGETS)}")

    def once(data: bytes) -> None:
        try:
            TARGETS[given.target](data)
        except BaseException:
            print(f"found by {data!r}", file=sys.stderr, flush=True)
            raise

    with tempfile.TemporaryDirectory() as corpus:
        options = [f"-max_total_time={given.seconds}", "-seed=18", "-max_len=48", "-timeout=20", "-rss_limit_mb=2048",
                   "-print_final_stats=1", f"-artifact_prefix={corpus}/", corpus]  # fmt: skip
        atheris.Setup([sys.argv[0], *options], once)
        atheris.Fuzz()  # ends the process by itself
    return 0


if __name__ == "__main__":
    sys.exit(main())
