"""AWS's emulator of the runtime interface, which comes with the SAM command line: one function, one request at a time."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hookcache_ops.local.server_process import free_port
from missing import required

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def emulated(folder: Path, command: tuple[str, ...], environ: Mapping[str, str]) -> Iterator[str]:
    """The address for invocations of what `command` runs in `folder`, with 512 MB; it ends with the block."""
    found = next((ROOT / ".venv-sam/lib").glob("python3*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"), None)
    binary = required(found or ROOT / ".venv-sam/rie", "the SAM command line is not installed: run `make setup` once")
    port, runtime_port = free_port(), free_port()
    process = subprocess.Popen(
        [
            *(binary, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
            *("--runtime-api-address", f"127.0.0.1:{runtime_port}"),
            *command,
        ],
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "_HANDLER": "app.lambda_handler",
            **environ,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    finally:
        process.terminate()
        process.wait(timeout=10)


def asked(url: str, event: object) -> bytes:
    """The emulator's answer; it may still be starting."""
    request = urllib.request.Request(url, data=json.dumps(event).encode(), method="POST")
    give_up = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                body: bytes = reply.read()
                return body
        except urllib.error.URLError as trouble:
            if not isinstance(trouble.reason, ConnectionRefusedError) or time.monotonic() > give_up:
                raise
            time.sleep(0.05)
