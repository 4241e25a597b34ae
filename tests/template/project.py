"""Where the project's files are, seen from these tests."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
