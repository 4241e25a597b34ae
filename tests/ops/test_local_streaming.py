"""Streamed answers: InvokeWithResponseStream and function URLs, with a runtime of our own that streams."""

import http.client
import json
import sys
from urllib.parse import urlsplit

import pytest
from local_rig import PROBE, call, gate, lambda_client, write_code

from hookcache_ops.local.lambda_service import Function, LambdaService

# A runtime as its authors write one: AWS's Python runtime client cannot stream.
STREAMING_RUNTIME = """
import base64, json, os, socket, http.client
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
host, port = api.split(":")

def chunk(connection, data):
    connection.sendall(b"%x\\r\\n%s\\r\\n" % (len(data), data))

def stream(request_id, event):
    body = json.loads(event["body"]) if "requestContext" in event else event
    with socket.create_connection((host, int(port))) as connection:
        head = ["POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1" % request_id, "Host: " + api,
                "Lambda-Runtime-Function-Response-Mode: streaming", "Transfer-Encoding: chunked",
                "Content-Type: " + body.get("type", "text/plain"),
                "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body", "", ""]
        connection.sendall("\\r\\n".join(head).encode())
        if "prelude" in body:
            chunk(connection, json.dumps(body["prelude"]).encode()[:9])
            chunk(connection, json.dumps(body["prelude"]).encode()[9:] + b"\\0" * 8)
        for text in body["chunks"]:
            if text == "GATE":
                with socket.create_connection(("127.0.0.1", body["gate"])) as at:
                    at.sendall(b"here"); at.recv(1)
            elif text == "EXIT":
                os._exit(1)
            else:
                chunk(connection, text.encode())
        trailers = ""
        if "error" in body:
            detail = base64.b64encode(json.dumps({"errorType": body["error"], "errorMessage": "midway"}).encode())
            trailers = "Lambda-Runtime-Function-Error-Type: %s\\r\\n" % body["error"]
            trailers += "Lambda-Runtime-Function-Error-Body: %s\\r\\n" % detail.decode()
        connection.sendall(("0\\r\\n" + trailers + "\\r\\n").encode())
        connection.recv(1000)

while True:
    polling = http.client.HTTPConnection(api)
    polling.request("GET", "/2018-06-01/runtime/invocation/next")
    reply = polling.getresponse()
    event = json.loads(reply.read())
    print("streaming", flush=True)
    stream(reply.headers["Lambda-Runtime-Aws-Request-Id"], event)
"""
INTEGRATION = "application/vnd.awslambda.http-integration-response"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    root = tmp_path_factory.mktemp("streaming")
    with LambdaService() as service:
        runtime = write_code(root / "stream", STREAMING_RUNTIME, "bootstrap.py")
        service.add(Function("stream", runtime, timeout_seconds=20, command=(sys.executable, "bootstrap.py")))
        service.add(Function("brief", runtime, timeout_seconds=2.0, command=(sys.executable, "bootstrap.py")))
        service.add(Function("plain", write_code(root / "plain", PROBE), timeout_seconds=20))
        echo = "def lambda_handler(event, context):\n    return {'statusCode': 201, 'body': event['rawPath'], 'headers': {'x-own': 'yes'}}\n"
        service.add(Function("web", write_code(root / "web", echo), timeout_seconds=20))
        yield service


@pytest.fixture(scope="module")
def client(service):
    return lambda_client(service.endpoint)


def stream(client, name, event, **parameters):
    return client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event), **parameters)


def collect(reply):
    """(chunks, members of InvokeComplete) of a streamed reply."""
    chunks, complete = [], None
    for event in reply["EventStream"]:
        if "PayloadChunk" in event:
            chunks.append(event["PayloadChunk"]["Payload"])
        else:
            complete = event["InvokeComplete"]
    return chunks, complete


def get(service, name, path="", body=None):
    """An open response of the function's URL."""
    url = urlsplit(service.function_url(name) + path)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    connection.request("POST" if body else "GET", url.path + (f"?{url.query}" if url.query else ""), json.dumps(body))
    return connection.getresponse()


class TestInvokeWithResponseStream:
    def test_chunks_arrive_as_they_are_written(self, client):
        """The first chunk is with the caller while the function still works on the second."""
        with gate() as held:
            reply = stream(client, "stream", {"chunks": ["one", "GATE", "two"], "gate": held.port})
            events = iter(reply["EventStream"])
            first = next(events)
            held.await_arrivals(1)
            held.open()
            rest = list(events)

        assert {"PayloadChunk": {"Payload": b"one"}} == first
        assert [{"PayloadChunk": {"Payload": b"two"}}, {"InvokeComplete": {}}] == rest
        assert ("$LATEST", "application/vnd.amazon.eventstream") == (
            reply["ExecutedVersion"],
            reply["ResponseMetadata"]["HTTPHeaders"]["content-type"],
        )

    def test_a_failure_in_the_middle_is_told_at_the_end(self, client):
        """Error trailers of the runtime become ErrorCode and ErrorDetails, after the chunks sent before."""
        chunks, complete = collect(stream(client, "stream", {"chunks": ["half"], "error": "Model.Gone"}))

        assert [b"half"] == chunks
        assert "Model.Gone" == complete["ErrorCode"]
        assert "midway" == json.loads(complete["ErrorDetails"])["errorMessage"]

    @pytest.mark.parametrize(
        ("name", "last", "code"), [("stream", ["EXIT"], "Runtime.ExitError"), ("brief", [], "Sandbox.Timedout")]
    )
    def test_a_process_that_ends_in_the_middle_is_told_at_the_end(self, client, name, last, code):
        """What was written before is with the caller by then: a process that ends may take along what is still on its way."""
        with gate() as held:
            reply = stream(client, name, {"chunks": ["half", "GATE", *last], "gate": held.port})
            events = iter(reply["EventStream"])
            first = next(events)
            held.await_arrivals(1)
            if last:
                held.open()
            (end,) = events

        assert {"PayloadChunk": {"Payload": b"half"}} == first
        assert code == end["InvokeComplete"]["ErrorCode"]

    def test_a_function_that_does_not_stream_answers_in_one_chunk(self, client):
        chunks, complete = collect(stream(client, "plain", {"echo": 1}, LogType="Tail"))
        _, failed = collect(stream(client, "plain", {"raise": "no"}))

        assert [{"echo": 1}] == [json.loads(chunk) for chunk in chunks]
        assert ["LogResult"] == list(complete)
        assert "LookupError" == failed["ErrorCode"]

    def test_plain_invoke_collects_a_streamed_answer(self, client):
        """Invoke of a streaming function waits for the whole; an error in the middle is a function error."""
        assert 12 == call(client, "stream", {"chunks": ["1", "2"]})[0]
        error, reply = call(client, "stream", {"chunks": ["1"], "error": "Model.Gone"})
        assert ("Unhandled", "Model.Gone") == (reply["FunctionError"], error["errorType"])


class TestFunctionUrl:
    def test_a_request_becomes_an_event_and_the_answer_a_response(self, service):
        """Status, headers and body are the handler's; without a status the whole answer is the body."""
        web, plain = get(service, "web", "pages/7?x=1"), get(service, "plain")

        assert (201, "yes", b"/pages/7") == (web.status, web.headers["x-own"], web.read())
        assert (200, "application/json") == (plain.status, plain.headers["content-type"])
        assert "pid" in json.loads(plain.read())

    def test_chunks_arrive_as_they_are_written(self, service):
        with gate() as held:
            response = get(service, "stream", body={"chunks": ["one", "GATE", "two"], "gate": held.port})
            first = response.read1()
            held.await_arrivals(1)
            held.open()
            rest = response.read()

        assert (200, "text/plain") == (response.status, response.headers["content-type"])
        assert (b"one", b"two") == (first, rest)

    def test_a_prelude_sets_status_and_headers(self, service):
        """The HTTP integration's prelude may arrive in pieces; it never reaches the caller as body."""
        prelude = {"statusCode": 206, "headers": {"X-Own": "yes"}}
        response = get(service, "stream", body={"type": INTEGRATION, "prelude": prelude, "chunks": ["body"]})

        assert (206, "yes", b"body") == (response.status, response.headers["x-own"], response.read())

    def test_an_answer_that_breaks_off_is_not_taken_for_whole(self, service):
        """A failure after the first chunk cuts the connection; the client sees that the answer is incomplete."""
        response = get(service, "stream", body={"chunks": ["half", "EXIT"]})

        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()

    def test_what_was_sent_before_the_process_ended_arrives(self, service):
        """However soon it ended after: the answer breaks off where the function did."""
        response = get(service, "stream", body={"chunks": ["x" * 65_536] * 40 + ["EXIT"]})

        with pytest.raises(http.client.IncompleteRead) as cut:
            response.read()
        assert 40 * 65_536 == len(cut.value.partial)

    def test_a_failure_before_the_first_chunk_is_a_bad_gateway(self, service):
        assert 502 == get(service, "stream", body={"chunks": ["EXIT"]}).status
