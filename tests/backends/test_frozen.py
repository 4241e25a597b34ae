"""F32: after a rest a backend asks its service over new connections: the environment may have been frozen, and the old be dead."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aws_backends import ENVIRONMENT, Clients, Left
from scripted_service import load_function

bedrock = load_function("bedrock", TARGET_MODEL_ID="amazon.nova-pro-v1:0", **ENVIRONMENT)
openai = load_function("openai", OPENAI_BASE_URL="https://model/v1", OPENAI_MODEL="m", **ENVIRONMENT)
AwsService, Rested = bedrock.module_aws_service.AwsService, bedrock.module_aws_service.Rested
Service, Retries = openai.module_service.Service, openai.module_service.Retries
MESSAGES = [{"role": "user", "content": [{"text": "x"}]}]


class _Handler(BaseHTTPRequestHandler):
    """Answers the first request of a connection; hangs up on the next one without a word, where the server says so."""

    protocol_version = "HTTP/1.1"
    server: _Server
    answered = False

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.close_connection = self.answered and self.server.hangs_up
        if self.close_connection:
            return
        self.answered = True
        body = json.dumps({"output": {"message": {"role": "assistant", "content": [{"text": "Read."}]}}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hangs_up = True
    connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


class WallClock:
    """Epoch seconds, as a test sets them."""

    def __init__(self) -> None:
        self.seconds = 1.8e9

    def __call__(self) -> float:
        return self.seconds


def over_the_sdk(url: str, clock: WallClock) -> Callable[[], Any]:
    client = Rested(Clients(url)("bedrock-runtime", bedrock.module_aws_service.config(5)), clock)
    service = AwsService("The service", client, 5, {})
    return lambda: service.call("converse", deadline(bedrock), modelId="m", messages=MESSAGES)


def over_https(url: str, clock: WallClock) -> Callable[[], Any]:
    service = Service("The service", 5, Retries(times=0), clock)
    return lambda: service.call("POST", url, {}, deadline(openai), body=b"{}")


def deadline(module: Any) -> Any:
    return module.module_deadline.Deadline.of(Left())


both = pytest.mark.parametrize("way", [over_the_sdk, over_https])


@both
@pytest.mark.parametrize("seconds", [61, 24 * 3600, -1])
def test_a_connection_that_died_meanwhile_fails_no_request(way, seconds, server):
    """One attempt is made: on the dead connection it would be lost. Past a minute by wall clock, or one that was set back."""
    clock = WallClock()
    ask = way(server.url, clock)
    ask()
    clock.seconds += seconds

    assert ask()["output"]["message"]["content"] == [{"text": "Read."}]
    assert server.connections == 2


@both
def test_control_on_the_old_connection_it_fails(way, server):
    """F32, Control: the same server, asked again before a minute has passed."""
    clock = WallClock()
    ask = way(server.url, clock)
    ask()
    clock.seconds += 59
    with pytest.raises(Exception, match=r"cannot be reached or broke off") as error:
        ask()

    assert type(error.value).__name__ == "ServiceFailedError"


@both
def test_a_connection_in_use_is_kept(way, server):
    """What is asked every few seconds pays for no new connection each time."""
    server.hangs_up, clock = False, WallClock()
    ask = way(server.url, clock)
    for _ in range(5):
        ask()
        clock.seconds += 30

    assert server.connections == 1


@pytest.mark.parametrize("service", ["s3", "bedrock-runtime"])
def test_every_client_of_a_backend_is_watched(service, server):
    """The one that reads page images as well: on a connection that is dead without a word it would wait for half a minute."""
    function = bedrock.BedrockFunction({"TARGET_MODEL_ID": "m.x"}, Clients(server.url))
    client = {"s3": function._s3, "bedrock-runtime": function._service.client}[service]

    assert isinstance(client, Rested)
