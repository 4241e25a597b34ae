"""
A service that says what a test tells it to, over a real socket; and functions of functions/<name>, loaded as they stand.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"


def load_function(folder: str, **environment: str) -> ModuleType:
    """
    The module `app` of functions/<folder>, with the modules beside it as its own attributes' modules.

    Every function has modules of the same names; none of them stays where another's import would find it.
    """
    place = FUNCTIONS / folder
    names = {path.stem for path in place.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.path.insert(0, str(place))
    try:
        with mock.patch.dict("os.environ", environment):
            spec = importlib.util.spec_from_file_location("app", place / "app.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(place))
        for name in names & sys.modules.keys():
            setattr(module, f"module_{name}", sys.modules.pop(name))
        sys.modules.update(before)


@dataclass(frozen=True, slots=True)
class Says:
    """
    One reply. `way`: `whole`; `cut` (half the body, then the connection ends); `reset` (no reply at all);
    `silent` (nothing, until the service closes).
    """

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    way: str = "whole"

    @property
    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(slots=True)
class ScriptedService:
    """Replies in the order of `script`, its last one again and again; what was asked is in `asked`."""

    script: list[Says]
    url: str = ""
    asked: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def next(self) -> Says:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def scripted(*script: Says) -> Iterator[ScriptedService]:
    """The service for as long as the `with` block."""
    service = ScriptedService(list(script))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            return

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            service.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            says = service.next()
            if says.way == "silent":
                service.closing.wait(30)
            if says.way in {"silent", "reset"}:
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            body = says.encoded
            self.send_response(says.status)
            for name, value in {"Content-Type": "application/json", **says.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if says.way == "cut" else body)
            self.close_connection = says.way == "cut"

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
