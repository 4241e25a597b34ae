"""
One address for several services: each request goes to the endpoint that serves it, told by its path or its target.

moto's Step Functions interpreter calls everything at one address. Through this router its tasks reach the Lambda
service's real processes and the DynamoDB engine, and only what neither serves comes back to moto.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import urllib3

# A hop's own headers are made anew by each side.
OF_ONE_HOP = frozenset({"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"})
NO_RETRY = urllib3.Retry(total=0, redirect=False)


@dataclass(slots=True)
class Router:
    """
    The router for as long as its `with` block; `port` is where it listens, on 127.0.0.1.

    Args:
        functions: endpoint of the Lambda service.
        table: endpoint of the DynamoDB engine.
        rest: endpoint of everything else; may be set after the start, when that server's own start needs our port.
    """

    functions: str
    table: str
    rest: str = ""
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        pool = urllib3.PoolManager(maxsize=32, retries=NO_RETRY, timeout=urllib3.Timeout(connect=5, read=None))
        router = self

        class Hop(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_ONE_HOP}
                endpoint = router.endpoint_of(self.path, self.headers.get("x-amz-target", ""))
                try:
                    reply = pool.request(self.command, endpoint + self.path, body=body, headers=headers)
                except urllib3.exceptions.HTTPError:
                    self.close_connection = True  # as the service did: the caller sees a cut connection
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    if name.lower() not in OF_ONE_HOP:
                        self.send_header(name, value)
                self.send_header("content-length", str(len(reply.data)))
                self.end_headers()
                self.wfile.write(reply.data)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the standard library's names

            def log_message(self, *_: object) -> None:
                """Nothing: addresses and targets are of no interest to anybody."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Hop)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="router", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def endpoint_of(self, path: str, target: str) -> str:
        """Where a request for `path` with the `X-Amz-Target` header `target` is served."""
        if path.startswith("/2015-03-31/functions/"):
            return self.functions
        return self.table if target.startswith("DynamoDB_") else self.rest
