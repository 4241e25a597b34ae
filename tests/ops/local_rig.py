"""What tests of the local AWS share: functions that do as the event says, gates that hold them, engines on demand."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from hookcache_ops.local.engines import available
from missing import missing

CREDENTIALS = {"aws_access_key_id": "LOCALACCESSKEY", "aws_secret_access_key": "LOCALSECRETKEY"}

PROBE = """
import json, os, socket, sys

def at_gate(port):
    with socket.create_connection(("127.0.0.1", port)) as gate:
        gate.sendall(b"here")
        gate.recv(1)

def lambda_handler(event, context):
    if "print" in event: print(event["print"])
    if "gate" in event: at_gate(event["gate"])
    if "raise" in event: raise LookupError(event["raise"])
    if "exit" in event: os._exit(event["exit"])
    if "answer_bytes" in event: return "x" * (event["answer_bytes"] - 2)
    if "echo" in event: return event
    client = context.client_context
    return {
        "pid": os.getpid(), "arn": context.invoked_function_arn, "version": context.function_version,
        "remaining_ms": context.get_remaining_time_in_millis(), "custom": client.custom if client else None,
        "environment": dict(os.environ), "length": len(event.get("text", "")), "code": "first",
    }
"""


def write_code(folder: Path, text: str, name: str = "app.py") -> Path:
    """A code folder that holds one file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


@dataclass
class Gate:
    """Holds invocations: each connects from inside its process and goes on when the gate opens."""

    listener: socket.socket
    held: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def await_arrivals(self, number: int) -> None:
        """Return when `number` more invocations stand at the gate."""
        for _ in range(number):
            connection, _address = self.listener.accept()
            connection.recv(4)
            self.held.append(connection)

    def open(self) -> None:
        while self.held:
            with self.held.pop() as connection:
                connection.sendall(b".")


@contextmanager
def gate() -> Iterator[Gate]:
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        listener.settimeout(60)
        here = Gate(listener)
        stack.callback(here.open)
        yield here


def lambda_client(endpoint: str, **config: Any) -> Any:
    """A Lambda client as the host has it, except that it tries once and has connections for every thread."""
    settings = Config(retries={"total_max_attempts": 1}, max_pool_connections=50, **config)
    return boto3.client("lambda", region_name="us-east-1", endpoint_url=endpoint, config=settings, **CREDENTIALS)


def call(client: Any, name: str, event: Any = None, **parameters: Any) -> tuple[Any, dict[str, Any]]:
    """Invoke, and return the parsed answer and the reply around it."""
    reply = client.invoke(FunctionName=name, Payload=json.dumps(event if event is not None else {}), **parameters)
    return json.loads(reply["Payload"].read() or b"null"), reply


def require_engine(name: str) -> None:
    found = available(name)
    if not found:
        missing(found.reason)


def runs(pid: int) -> bool:
    """Whether the process still runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
