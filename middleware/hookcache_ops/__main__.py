"""The command `hookcache`: Ctrl-C while Python still loads what every command needs is the word that it is later."""

from __future__ import annotations

import sys


def main() -> int:
    """`cli.main`, which says what is done on Ctrl-C once it runs; the exit status."""
    try:
        from hookcache_ops.cli import main as called

        return called()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
