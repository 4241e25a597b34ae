"""
A fresh process from its start to its first answer from the table: `python -m bench.cold_start ours|plain FILE`.

FILE holds the event and the expected answer. Prints what the process needed, as JSON.
"""

from __future__ import annotations

import json
import sys

OURS, PLAIN = "ours", "plain"


def main(which: str, file: str) -> None:
    with open(file, encoding="utf-8") as opened:
        event, expected, table = json.load(opened)
    import os

    if which == OURS:
        from hookcache.assembly import wrapper

        handler = wrapper({**os.environ, "HOOKCACHE_TABLE": table})
    else:
        import boto3

        from bench.plain import Plain

        handler = Plain(table, _no_backend)
        boto3.client("lambda")  # the plain wrapper of a function needs it as well, and makes it when it starts
    standard, sys.stdout = sys.stdout, sys.stderr  # the receipt is not the answer
    answer = handler(event, _Context())
    sys.stdout = standard
    assert answer == expected, "the first answer is not the stored one"
    with open("/proc/self/status", encoding="ascii") as status:
        kept = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    print(json.dumps({"rss_mb": kept / 1024}))


class _Context:
    function_name = "GENAIIDP-cache-bench"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-cache-bench"
    aws_request_id = "cold"
    memory_limit_in_mb = 512
    client_context = None

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 300_000


def _no_backend(_: object) -> dict[str, object]:
    raise AssertionError("a table hit asks no backend")


if __name__ == "__main__":
    main(*sys.argv[1:])
