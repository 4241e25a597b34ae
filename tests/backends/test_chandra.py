"""functions/chandra: a page submitted as a form, its job looked at until it is done; over a real socket."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from scripted_service import Says, load_function, put_behind, scripted

from fakes import CANARY, FakeSecrets, event_of, ocr_event
from hookcache_ops.backends.chandra import ChandraServer
from hookcache_ops.backends.reading import Told

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:chandra-key-abc123"
KEY = "chandra-canary-4711"
TAKEN = Says({"success": True, "request_id": "job-1", "request_check_url": "/api/v1/marker/job-1"})
WORKING = Says({"status": "processing"})
app = load_function("chandra")
errors, jobs, Deadline = app.module_backend_errors, app.module_chandra_jobs, app.module_deadline.Deadline


def done(**members: Any) -> Says:
    told = {
        "status": "complete",
        "success": True,
        "error": None,
        "markdown": "# Account 12345",
        "html": None,
        "json": None,
    }
    return Says({**told, "page_count": 1, **members})


def function(rig: Any, service: Any, left: float = 300, secrets: Any = None, **environment: str) -> Any:
    """The function on the rig's S3 and clock; its waits move that clock and nothing else."""
    clients = {"s3": rig.s3, "secretsmanager": secrets or FakeSecrets(KEY)}
    settings = {"CHANDRA_API_URL": f"{service.url}/api/v1/marker", "CHANDRA_API_KEY_SECRET_ARN": ARN}
    return app.ChandraFunction(
        settings | environment,
        lambda name, config: clients[name],
        lambda _: Deadline(left, rig.clock.elapsed, rig.clock.sleep),
    )


class TestConversation:
    def test_a_page_is_submitted_once_and_looked_at_until_it_is_done(self, rig):
        """One form with file, format and mode; a look every POLL_INTERVAL; the key goes along each time."""
        with scripted(TAKEN, WORKING, WORKING, done()) as service:
            answer = function(rig, service, POLL_INTERVAL="2")(ocr_event(rig.image(b"\xff\xd8 page \r\n--x")), None)
        asked = [(request.method, request.target) for request in service.requests]
        form = service.requests[0].body

        assert asked == [("POST", "/api/v1/marker"), *[("GET", "/api/v1/marker/job-1")] * 3]
        assert {request.headers["x-api-key"] for request in service.requests} == {KEY}
        assert b'name="file"; filename="page.jpeg"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8 page \r\n--x\r\n' in form
        assert b'name="output_format"\r\n\r\nmarkdown\r\n' in form
        assert b'name="mode"\r\n\r\naccurate\r\n' in form
        assert rig.clock.slept == [2, 2, 2]
        assert answer == {
            "output": {"message": {"role": "assistant", "content": [{"text": "# Account 12345"}]}},
            "stopReason": "end_turn",
            "usage": {"pages": 1, "inputTokens": 0, "outputTokens": 0, "totalTokens": 0},
        }

    def test_every_image_is_submitted_before_the_first_is_waited_for(self, rig):
        """Their texts keep the order of the images, their pages are summed."""
        with scripted(TAKEN, TAKEN, done(markdown="one"), done(markdown="two", page_count=2)) as service:
            answer = function(rig, service)(ocr_event(rig.image(b"1"), rig.image(b"2")), None)
        assert [request.method for request in service.requests] == ["POST", "POST", "GET", "GET"]
        assert answer["output"]["message"]["content"] == [{"text": "one\n\ntwo"}]
        assert answer["usage"]["pages"] == 3

    @pytest.mark.parametrize(
        ("output_format", "told", "text"),
        [
            ("markdown", "# A", "# A"),
            ("html", "<p>A</p>", "<p>A</p>"),
            ("json", {"block_type": "Page", "text": "Ä"}, '{"block_type": "Page", "text": "Ä"}'),
            ("json", '{"block_type": "Page"}', '{"block_type": "Page"}'),
        ],
    )
    def test_each_output_format_is_read_from_its_own_member(self, rig, output_format, told, text):
        with scripted(TAKEN, done(**{"markdown": None, output_format: told})) as service:
            made = function(rig, service, OUTPUT_FORMAT=output_format, CONVERSION_MODE="fast")
            answer = made(ocr_event(rig.image(b"p")), None)
        assert answer["output"]["message"]["content"] == [{"text": text}]
        assert b'name="mode"\r\n\r\nfast\r\n' in service.requests[0].body

    def test_a_blank_page_is_a_blank_text_that_was_charged(self, rig):
        """A job that ended well says so; where `blank_pages` is on, the wrapper keeps it."""
        with scripted(TAKEN, done(markdown="")) as service:
            answer = function(rig, service)(ocr_event(rig.image(b"p")), None)
        assert answer["output"]["message"]["content"] == [{"text": ""}]
        assert answer["usage"]["pages"] == 1

    @pytest.mark.parametrize("told", [0, -1, None, "2", True])
    def test_a_page_is_counted_where_the_service_counts_none(self, rig, told):
        """One image is one page at least: a count of none would have the answer refused, and the next attempt paid again."""
        with scripted(TAKEN, done(page_count=told)) as service:
            assert function(rig, service)(ocr_event(rig.image(b"p")), None)["usage"]["pages"] == 1

    def test_a_look_that_fails_is_repeated_and_the_page_is_not_submitted_again(self, rig):
        """What was submitted is paid; only the look is asked again."""
        with scripted(TAKEN, Says({}, 503), Says(way="cut"), Says({}, 429), Says({}, 504), done()) as service:
            function(rig, service)(ocr_event(rig.image(b"p")), None)
        assert [request.method for request in service.requests] == ["POST", "GET", "GET", "GET", "GET", "GET"]


def test_the_key_is_read_once_and_again_after_a_refusal(rig):
    """A rotated key is found by the host's next attempt, without a redeployment."""
    secrets = FakeSecrets("old-key")
    with scripted(TAKEN, done(), TAKEN, done(), Says({}, 401), TAKEN, done()) as service:
        made, event = function(rig, service, secrets=secrets), ocr_event(rig.image(b"p"))
        made(event, None)
        made(event, None)
        secrets.text = KEY
        with pytest.raises(errors.ServiceRefusedError, match="key"):
            made(event, None)
        made(event, None)
    assert secrets.reads == 2
    assert service.requests[-1].headers["x-api-key"] == KEY


BAD = {
    "not taken": ([Says({"success": False, "error": CANARY})], "ServiceFailedError"),
    "no place to look": ([Says({"success": True})], "BadAnswerError"),
    "no object": ([Says(["job-1"])], "BadAnswerError"),
    "no JSON": ([Says(b"<html>")], "BadAnswerError"),
    "another host": ([Says({"request_check_url": "https://elsewhere.example/job-1"})], "BadAnswerError"),
    "no URL": ([Says({"request_check_url": "https://[job-1"})], "BadAnswerError"),
    "401": ([Says({"detail": CANARY}, 401)], "ServiceRefusedError"),
    "413": ([Says({"detail": CANARY}, 413)], "ServiceRefusedError"),
    "429": ([Says({}, 429, {"Retry-After": "9999"})], "ServiceThrottledError"),
    "500": ([Says({"detail": CANARY}, 500)], "ServiceFailedError"),
    "cut on the wire": ([Says(TAKEN.body, way="cut")], "ServiceFailedError"),
    "job failed": ([TAKEN, Says({"status": "failed", "error": CANARY})], "ServiceFailedError"),
    "job ended in an error": ([TAKEN, Says({"status": "error"})], "ServiceFailedError"),
    "job complete without success": ([TAKEN, done(success=False)], "ServiceFailedError"),
    "job complete with an error": ([TAKEN, done(error=CANARY)], "ServiceFailedError"),
    "no status": ([TAKEN, Says({"markdown": "text"})], "BadAnswerError"),
    "nothing in the format": ([TAKEN, done(markdown=None)], "BadAnswerError"),
    "text of another kind": ([TAKEN, done(markdown=["a"])], "BadAnswerError"),
    "job is gone": ([TAKEN, Says({}, 404)], "ServiceRefusedError"),
    "never ends": ([TAKEN, WORKING], "OutOfTimeError"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_answer_raises_its_own_type_and_nothing_is_stored(rig, bad):
    """P14, P17, P36: typed, with a remedy, without the service's prose; the next good answer is kept as ever."""
    script, expected = BAD[bad]
    with scripted(*script) as service:
        put_behind(rig, function(rig, service), errors.BackendError)
        uri = rig.image(b"a page")
        with pytest.raises(Exception, match=r"\w") as error:
            rig.call(ocr_event(uri))
        assert type(error.value).__name__ == expected
        assert rig.entries == []
        for word in (CANARY, KEY, uri):
            assert word not in str(error.value)
        service.script[:] = [TAKEN, done()]
        rig.clock.advance(61)
        for _ in range(2):
            rig.call(ocr_event(rig.image(b"a page")))

    assert rig.outcomes == ["failed", "miss", "hit_memory"]


@pytest.mark.parametrize(
    ("submit_url", "told"),
    [
        ("https://OCR.example/submit", "https://ocr.example/job-1"),
        ("https://ocr.example/submit", "https://ocr.example:443/job-1"),
        ("http://ocr.example:80/submit", "http://ocr.example/job-1"),
    ],
)
def test_the_same_place_may_be_spelt_in_another_way(submit_url, told):
    """A server that names its port, or its host in small letters, is the one that the page was submitted to."""
    assert jobs.check_url({"request_check_url": told}, submit_url) == told


@pytest.mark.parametrize(
    "told",
    [
        "http://ocr.example/job-1",
        "https://ocr.example:8443/job-1",
        "https://ocr.example@elsewhere.example/job-1",
        "https://user@ocr.example/job-1",
        "//elsewhere.example/job-1",
        "https://ocr.example:port/job-1",
    ],
)
def test_another_place_gets_no_key(told):
    """Control of the test above; the scheme is named, since a server behind a proxy may say http of itself."""
    with pytest.raises(errors.BadAnswerError, match="scheme, host or port"):
        jobs.check_url({"request_check_url": told}, "https://ocr.example/submit")


class TestTime:
    def test_polling_ends_after_its_limit(self, rig):
        with scripted(TAKEN, WORKING) as service, pytest.raises(errors.OutOfTimeError, match="MAX_POLL_ATTEMPTS"):
            function(rig, service, MAX_POLL_ATTEMPTS="4")(ocr_event(rig.image(b"p")), None)
        assert [request.method for request in service.requests] == ["POST"] + ["GET"] * 4

    def test_a_look_without_an_answer_is_repeated(self, rig):
        """Looking costs nothing; submitting again would."""
        with scripted(TAKEN, Says(way="silent"), done()) as service:
            function(rig, service, REQUEST_TIMEOUT="1")(ocr_event(rig.image(b"p")), None)
        assert [request.method for request in service.requests] == ["POST", "GET", "GET"]

    def test_a_submission_without_an_answer_is_not(self, rig):
        with scripted(Says(way="silent"), TAKEN) as service, pytest.raises(errors.OutOfTimeError):
            function(rig, service, REQUEST_TIMEOUT="1")(ocr_event(rig.image(b"p")), None)
        assert len(service.requests) == 1

    def test_polling_ends_before_the_invocation_does(self, rig):
        """P21: 10 s left, 2 s of them for raising, a look every 3 s: two looks, and the error says what to raise."""
        with scripted(TAKEN, WORKING) as service, pytest.raises(errors.OutOfTimeError, match="timeout"):
            function(rig, service, left=10)(ocr_event(rig.image(b"p")), None)
        assert rig.clock.slept == [3, 3]


def test_an_image_that_s3_does_not_give_is_an_error_and_never_an_empty_text(rig):
    """The host's sample answers with an empty text here, which passes for a blank page; nothing is submitted."""
    with scripted(TAKEN, done()) as service:
        made = function(rig, service)
        with pytest.raises(errors.NoImageError, match="s3:GetObject"):
            made(ocr_event("s3://idp-working-bucket/temp/lambdahook/gone.jpeg"), None)
        with pytest.raises(errors.NoImageError, match="DOCUMENT_IMAGE"):
            made(event_of("OCR", ["no image"]), None)
    assert len(service.requests) == 0


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda given: given["messages"][0]["content"].append({"document": {"format": "pdf"}}),
            "neither text nor image",
        ),
        (lambda given: given.update(messages=[]), "no messages"),
        (lambda given: given.update(messages=["Read."]), "no messages"),
    ],
    ids=["another kind", "no message", "no object"],
)
def test_a_request_that_cannot_be_sent_whole_is_refused(rig, spoil, told):
    """Texts have no place here, as docs/backends.md says; a document beside the image may be a page of its own."""
    given = ocr_event(rig.image(b"p"))
    with scripted(TAKEN, done()) as service:
        function(rig, service)(given, None)  # control: as it was, it is read
        service.requests.clear()
        spoil(given)
        with pytest.raises(errors.BadRequestError, match=told):
            function(rig, service)(given, None)
    assert len(service.requests) == 0


def test_nothing_confidential_is_logged(rig, caplog):
    """P36: canaries in prompt, image, key, error prose and answer; every logger at its most talkative."""
    caplog.set_level(logging.DEBUG)
    with scripted(Says({"detail": CANARY}, 500), TAKEN, WORKING, done(markdown=CANARY)) as service:
        function(rig, service)(ocr_event(rig.image(CANARY.encode())), None)
    assert any("retry 1" in line for line in caplog.messages)  # control: the log is not empty
    for word in (CANARY, KEY, "s3://"):
        assert word not in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHANDRA_API_URL", "http://ocr.example/api"),
        ("OUTPUT_FORMAT", "text"),
        ("CONVERSION_MODE", "best"),
        ("POLL_INTERVAL", "0"),
        ("MAX_POLL_ATTEMPTS", "0"),
        ("MAX_POLL_ATTEMPTS", "2.5"),
    ],
)
def test_a_wrong_setting_stops_the_function_at_its_start_and_is_named(rig, name, value):
    """P52"""
    with pytest.raises(errors.SettingsError, match=name):
        function(rig, SimpleNamespace(url="http://127.0.0.1"), **{name: value})


@pytest.fixture(scope="module")
def server():
    with ChandraServer() as server:
        server.tell = lambda texts, images: Told(f"Account {len(images[0])}\nTotal <9>", 1, 1, 1)
        yield server


class TestServer:
    """The server of the demo speaks the same language, and misbehaves as told."""

    def ask(self, rig: Any, server: Any, **environment: str) -> Any:
        made = function(rig, server, secrets=FakeSecrets(server.key), POLL_INTERVAL="0.05", **environment)
        made._deadline = lambda _: Deadline(20)
        return made(ocr_event(rig.image(b"\x00\r\n page")), None)["output"]["message"]["content"][0]["text"]

    def test_it_reads_the_very_bytes_in_each_format(self, rig, server):
        assert self.ask(rig, server) == "Account 8\n\nTotal <9>"
        assert self.ask(rig, server, OUTPUT_FORMAT="html") == "<p>Account 8</p><p>Total &lt;9&gt;</p>"
        assert json.loads(self.ask(rig, server, OUTPUT_FORMAT="json"))["children"][0]["html"] == "Account 8"

    def test_a_blank_page_is_read_as_blank(self, rig, server):
        server.misbehave("blank")
        assert self.ask(rig, server) == ""

    @pytest.mark.parametrize(
        ("how", "expected"),
        [
            ("server_error", "ServiceFailedError"),
            ("malformed", "BadAnswerError"),
            ("cut", "ServiceFailedError"),
            ("empty", "BadAnswerError"),
            ("not_taken", "ServiceFailedError"),
            ("elsewhere", "BadAnswerError"),
            ("job_failed", "ServiceFailedError"),
            ("never_ends", "OutOfTimeError"),
            ("throttle", "ServiceThrottledError"),
        ],
    )
    def test_it_misbehaves_as_told(self, rig, server, how, expected):
        server.misbehave(how)
        with pytest.raises(errors.BackendError) as error:
            self.ask(rig, server, MAX_RETRIES="0", MAX_POLL_ATTEMPTS="3")
        assert type(error.value).__name__ == expected

    def test_it_knows_its_key(self, rig, server):
        made = function(rig, server, secrets=FakeSecrets("another"))
        with pytest.raises(errors.ServiceRefusedError, match="401"):
            made(ocr_event(rig.image(b"p")), None)
