"""Where the project's files are, seen from these tests, and how its artifacts are built for this machine."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NATIVE = {"HOOKCACHE_BUILD_PLATFORM": "native", "HOOKCACHE_BUILD_PYTHON": sys.executable}
