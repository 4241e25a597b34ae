"""Erase over the deployed functions: real Lambda processes, a real DynamoDB engine, the command line in front."""

import json
import threading
import uuid
from pathlib import Path

import pytest
from local_rig import call, gate, require_engine, write_code

from hookcache_ops import erase, mode
from hookcache_ops.local.aws import TABLE, WORKING_BUCKET, LocalAws
from hookcache_ops.local.engines import DYNAMODB_LOCAL, DYNOXIDE
from hookcache_ops.local.function import Function
from operator_rig import arguments

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"
BACKEND, WRAPPER, ERASER = "GENAIIDP-be", "GENAIIDP-cache-be", "hookcache-erase-be"

READER = """
import socket

def lambda_handler(event, context):
    prompt = event["messages"][0]["content"][0]["text"]
    if prompt.startswith("gate "):
        with socket.create_connection(("127.0.0.1", int(prompt.split()[1]))) as held:
            held.sendall(b"here")
            held.recv(1)
    answer = {"role": "assistant", "content": [{"text": "Reading " + context.aws_request_id}]}
    return {"output": {"message": answer}, "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}}
"""


@pytest.fixture(
    scope="module", params=[DYNOXIDE, pytest.param(DYNAMODB_LOCAL, marks=pytest.mark.prove)], ids=lambda name: name
)
def aws(request, tmp_path_factory):
    require_engine(request.param)
    with LocalAws(request.param) as aws:
        folder = write_code(tmp_path_factory.mktemp("backend"), READER)
        settings = {**aws.settings(), "HOOKCACHE_BACKEND": BACKEND}
        aws.functions.add(Function(BACKEND, folder, timeout_seconds=30))
        aws.functions.add(Function(WRAPPER, FUNCTIONS / "hook", environment=settings, timeout_seconds=60))
        aws.functions.add(Function(ERASER, FUNCTIONS / "erase", environment=settings, timeout_seconds=60))
        yield aws


@pytest.fixture
def page(aws, tmp_path):
    """A page of its own for each test: its file, and events that show it under new names."""
    return Page(aws, tmp_path / "page.jpeg")


class Page:
    def __init__(self, aws, path):
        self.aws, self.path = aws, path
        path.write_bytes(uuid.uuid4().bytes * 1_000)

    def event(self, prompt="Read it."):
        name = f"temp/lambdahook/{uuid.uuid4().hex}.jpeg"
        self.aws.client("s3").put_object(Bucket=WORKING_BUCKET, Key=name, Body=self.path.read_bytes())
        image = {"format": "jpeg", "source": {"s3Location": {"uri": f"s3://{WORKING_BUCKET}/{name}"}}}
        return {
            "modelId": "LambdaHook",
            "messages": [{"role": "user", "content": [{"text": prompt}, {"image": image}]}],
            "system": [{"text": "You read pages."}],
            "inferenceConfig": {"temperature": 0.0},
            "context": "OCR",
        }


def read(aws, event):
    """The text that the wrapper answers with, and which tier it came from."""
    answer, reply = call(aws.client("lambda"), WRAPPER, event)
    assert "FunctionError" not in reply, answer
    return answer["output"]["message"]["content"][0]["text"], receipts(aws)[-1]


def receipts(aws):
    lines = [line for line in aws.functions.logs(WRAPPER) if line.startswith("{") and '"outcome"' in line]
    return [json.loads(line) for line in lines]


def entries(aws):
    """The ENTRY items in the table that are no tombstones."""
    items = aws.client("dynamodb").scan(TableName=TABLE, ConsistentRead=True)["Items"]
    return [item for item in items if item["kind"]["S"] == "ENTRY" and "erased" not in item]


@pytest.fixture
def hookcache(aws, monkeypatch, capsys):
    """A command of the command line, in a shell that talks to this AWS; its report."""
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)

    def run(module, *argv):
        status = module.run(arguments(module, *argv, "--json"))
        captured = capsys.readouterr()
        assert 0 == status, captured.err
        return json.loads(captured.out)

    return run


@pytest.mark.parametrize(
    "way",
    [
        ["--function", WRAPPER],
        pytest.param(["--function", WRAPPER, "--direct"], marks=pytest.mark.prove),
        pytest.param(["--through", ERASER], marks=pytest.mark.prove),
    ],
)
def test_a_page_in_flight_is_erased_and_does_not_come_back(aws, page, hookcache, way):
    """P13, P46: erased while the backend reads it; its caller is answered, and the next one gets another answer."""
    with gate() as door:
        event = page.event(f"gate {door.port}")
        answers = []
        caller = threading.Thread(target=lambda: answers.append(read(aws, event)))
        caller.start()
        door.await_arrivals(1)
        report = hookcache(erase, "--image", str(page.path), "--yes", *way)
        door.open()
        caller.join(60)
        assert [] == entries(aws)
        aws.functions.kill_environments(WRAPPER)
        again = threading.Thread(target=lambda: answers.append(read(aws, event)))
        again.start()
        door.await_arrivals(1)
        door.open()
        again.join(60)

    assert (1, 1, 0) == (report["keys"], report["fetches_stopped"], report["failed"])
    assert ["miss", "miss"] == [receipt["outcome"] for _, receipt in answers]
    assert "superseded" == answers[0][1]["refusal"]
    assert answers[0][0] != answers[1][0]
    assert 1 == hookcache(erase, "--image", str(page.path), "--yes", *way)["entries"]


def test_a_request_is_erased_by_event_and_by_the_id_in_its_receipt(aws, page, hookcache, tmp_path):
    """P46: the command line digests the event as the hook does; a receipt's `key_id` leads to its key."""
    path = tmp_path / "event.json"
    for by in ("--event", "--key-id"):
        event = page.event()
        path.write_text(json.dumps(event))
        first, receipt = read(aws, event)
        assert first == read(aws, page.event())[0]
        what = str(path) if by == "--event" else receipt["key_id"]
        assert 1 == hookcache(erase, by, what, "--yes", "--function", WRAPPER)["entries"]
        aws.functions.kill_environments(WRAPPER)
        assert first != read(aws, page.event())[0]
        hookcache(erase, "--image", str(page.path), "--yes", "--function", WRAPPER)
        aws.functions.kill_environments(WRAPPER)


def test_orders_reach_the_deployed_wrapper(aws, page, hookcache):
    """P44, P50: a mode and an invalidation from the command line hold for environments that start then."""
    first, _ = read(aws, page.event())
    hookcache(mode, "observe", "--context", "OCR", "--function", WRAPPER)
    aws.functions.kill_environments(WRAPPER)
    assert "observe" == read(aws, page.event())[1]["outcome"]
    hookcache(mode, "--clear", "--context", "OCR", "--function", WRAPPER)
    hookcache(erase, "--context", "OCR", "--yes", "--function", WRAPPER)
    aws.functions.kill_environments(WRAPPER)
    second, receipt = read(aws, page.event())

    assert ("miss", "invalidated") == (receipt["outcome"], receipt["reason"])
    assert first != second
    assert {} == hookcache(mode, "--show", "--function", WRAPPER)["modes"]


def test_the_erase_function_logs_counts_and_no_digest(aws, page, hookcache):
    """P36: what was done stays in its log, and nothing that names the page."""
    read(aws, page.event())
    report = hookcache(erase, "--image", str(page.path), "--yes", "--through", ERASER)
    logged = "\n".join(aws.functions.logs(ERASER))

    assert '"entries": 1' in logged
    assert report["removed"][0]["key_id"] not in logged
