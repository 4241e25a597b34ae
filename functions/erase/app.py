"""
Erasure and orders under a role of their own: `hookcache/commands.py` says what an event holds and what comes back.

The host cannot invoke this function: its name does not start with GENAIIDP-. The log keeps what was done, as counts: a digest of
what somebody wants erased would confirm a guess at it (P37).
"""

import json
import os
from typing import Any

from hookcache.commands import Commands

_commands = Commands.of(os.environ)


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """The report on one command."""
    report = _commands(event, context)
    counts = {name: len(told) if isinstance(told, list) else told for name, told in report.items() if name != "removed"}
    undone = "error" in report or report.get("failed") or not report.get("finished", True)
    message = "command not done" if undone else "command done"
    print(json.dumps({"message": message, **counts}))
    return report
