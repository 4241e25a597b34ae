"""functions/erase: what its log keeps of a command."""

from __future__ import annotations

import json

import pytest
from aws_backends import ENVIRONMENT, Left
from scripted_service import load_function

SETTINGS = {"HOOKCACHE_TABLE": "table", "HOOKCACHE_SECRET": "a secret that is long enough for a test"}
FOUND = {
    "command": "erase",
    "finished": True,
    "nothing_of": [],
    "keys": 1,
    "entries": 1,
    "failed": 0,
    "removed": [{"key_id": "0123456789abcdef"}],
}
PART = FOUND | {"nothing_of": ["0" * 64, "f" * 64]}


@pytest.mark.parametrize(
    ("event", "message", "counts"),
    [
        ({"command": "erase"}, "command not done", {}),
        ({"command": "forget"}, "command not done", {}),
        (FOUND, "command done", {"nothing_of": 0}),
        (PART, "command done", {"nothing_of": 2}),
        (FOUND | {"finished": False}, "command not done", {"nothing_of": 0}),
        (FOUND | {"failed": 1}, "command not done", {"nothing_of": 0}),
    ],
    ids=["nothing named", "no such command", "control: done", "the others not found", "out of time", "one failed"],
)
def test_the_log_says_done_of_what_was_done_alone(event, message, counts, capsys):
    """
    Whoever looks up an erasure in the log must not find one that was refused, or that left something. Counts are kept, keys and digests are not (P37): a
    plain digest confirms what was guessed to be in the page or the request.
    """
    app = load_function("erase", **ENVIRONMENT, **SETTINGS)
    if "keys" in event:  # the work is tested with the commands; here only what is said of it
        app._commands = lambda event, context: event
    report = app.lambda_handler(event, Left())
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "message": message,
        **{name: value for name, value in report.items() if name != "removed"},
        **counts,
    }
