"""functions/erase: what its log keeps of a command."""

from __future__ import annotations

import json

import pytest
from aws_backends import ENVIRONMENT, Left
from scripted_service import load_function

SETTINGS = {"HOOKCACHE_TABLE": "table", "HOOKCACHE_SECRET": "a secret that is long enough for a test"}
DONE = {"command": "erase", "keys": 1, "entries": 1, "removed": [{"key": "0123456789abcdef"}]}


@pytest.mark.parametrize(
    ("event", "message"),
    [({"command": "erase"}, "command not done"), ({"command": "forget"}, "command not done"), (DONE, "command done")],
    ids=["nothing named", "no such command", "control: done"],
)
def test_the_log_says_done_of_what_was_done_alone(event, message, capsys):
    """Whoever looks up an erasure in the log must not find one that was refused; counts are kept, keys are not."""
    app = load_function("erase", **ENVIRONMENT, **SETTINGS)
    if event is DONE:
        app._commands = lambda event, context: (
            event
        )  # its work is tested with the commands; here only what is said of it
    report = app.lambda_handler(event, Left())
    told = json.loads(capsys.readouterr().out)
    assert told == {"message": message, **{name: value for name, value in report.items() if name != "removed"}}
