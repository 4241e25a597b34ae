"""The local Lambda service as boto3 sees it, with real runtime client processes behind it."""

import base64
import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from local_rig import PROBE, call, gate, lambda_client, write_code

from hookcache.items import BUDGET_SECONDS
from hookcache_ops.local.lambda_service import Function, LambdaService
from waiting import eventually

ARN = "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-probe"
NAME = "GENAIIDP-probe"
SIX_MB = 6 * 1024 * 1024

# Answers one invocation, stays a moment at the event's gate, and ends.
ONE_ANSWER_RUNTIME = """
import json, http.client, os, socket
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
connection = http.client.HTTPConnection(api)
connection.request("GET", "/2018-06-01/runtime/invocation/next")
reply = connection.getresponse()
event, request_id = json.loads(reply.read()), reply.headers["Lambda-Runtime-Aws-Request-Id"]
answer = json.dumps({"pid": os.getpid()})
connection.request("POST", f"/2018-06-01/runtime/invocation/{request_id}/response", answer)
connection.getresponse().read()
with socket.create_connection(("127.0.0.1", event["gate"])) as gate:
    gate.sendall(b"here")
    gate.recv(1)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    root = tmp_path_factory.mktemp("lambda")
    with LambdaService(log_folder=root / "logs", environment={"SHARED": "by all"}) as service:
        probe = write_code(root / "probe", PROBE)
        service.add(Function(NAME, probe, timeout_seconds=20, concurrency=4, environment={"OWN": "mine"}))
        service.add(Function("brief", probe, timeout_seconds=0.3))
        service.add(Function("single", probe, timeout_seconds=20, concurrency=1))
        service.add(Function("unimportable", write_code(root / "bad", "import no_such_module\n")))
        service.add(Function("no-handler", probe, handler="app.nothing"))
        service.add(Function("no-runtime", probe, command=("/nonexistent/bootstrap",)))
        service.add(Function("versioned", write_code(root / "versioned", PROBE), concurrency=4))
        yield service


@pytest.fixture(scope="module")
def client(service):
    return lambda_client(service.endpoint)


def call_when_free(client, name, event):
    """As `call`, once the one environment of `name` has ended the call that it answered last."""
    answered = []

    def taken():
        try:
            answered.append(call(client, name, event))
        except client.exceptions.TooManyRequestsException:
            return False
        return True

    assert eventually(taken)
    return answered[-1]


def refused(client, name=NAME, **parameters):
    """The (status, code) with which the API refuses an invocation."""
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName=name, **parameters)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


class TestInvoke:
    def test_an_answer_comes_back_with_the_version_that_gave_it(self, client):
        """A handler runs in the runtime client's own process and sees the ARN that it was invoked by."""
        answer, reply = call(client, NAME)

        assert (200, "$LATEST") == (reply["StatusCode"], reply["ExecutedVersion"])
        assert "FunctionError" not in reply
        assert (ARN, "$LATEST") == (answer["arn"], answer["version"])
        assert os.getpid() != answer["pid"]
        assert 5_000 < answer["remaining_ms"] <= 20_000

    def test_the_process_has_the_variables_that_aws_sets_and_none_of_its_owner(self, client, service, monkeypatch):
        """A function's environment is what was configured and what AWS adds; the owner's does not leak in."""
        monkeypatch.setenv("OWNERS_SECRET", "leak")
        service.kill_environments(NAME)
        seen = call(client, NAME)[0]["environment"]

        expected = {
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_FUNCTION_NAME": NAME,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_LAMBDA": service.endpoint,
            "SHARED": "by all",
            "OWN": "mine",
        }
        assert expected == {name: seen.get(name) for name in expected}
        assert "OWNERS_SECRET" not in seen
        assert seen["AWS_ACCESS_KEY_ID"].isalnum()

    def test_client_context_reaches_the_handler(self, client):
        """Client context travels from the caller to the handler's context, non-ASCII text included."""
        context = base64.b64encode(json.dumps({"custom": {"hookcache": "é\n"}}).encode()).decode()

        assert {"hookcache": "é\n"} == call(client, NAME, ClientContext=context)[0]["custom"]
        assert call(client, NAME)[0]["custom"] is None

    @pytest.mark.parametrize("context", ["%%%", base64.b64encode(b"{").decode(), base64.b64encode(b"[]").decode()])
    def test_a_client_context_that_is_no_json_object_is_refused(self, client, context):
        assert (400, "InvalidRequestContentException") == refused(client, Payload=b"{}", ClientContext=context)

    def test_the_log_tail_holds_this_invocation_only(self, client):
        """A log tail is the last 4 KB of what this invocation wrote, Lambda's own lines included."""
        call(client, NAME, {"print": "earlier"})
        _, reply = call(client, NAME, {"print": "now"}, LogType="Tail")
        lines = base64.b64decode(reply["LogResult"]).decode().splitlines()

        assert ["START", "now", "END", "REPORT"] == [line.split(" ")[0] for line in lines]
        assert "LogResult" not in call(client, NAME)[1]
        long_tail = call(client, NAME, {"print": "y" * 9000}, LogType="Tail")[1]["LogResult"]
        assert 4096 == len(base64.b64decode(long_tail))

    def test_an_event_is_answered_at_once_and_run_later(self, client, service):
        """An asynchronous invocation returns 202 without waiting for the handler, even where there is no room yet."""
        with gate() as held:
            replies = [
                client.invoke(FunctionName="single", InvocationType="Event", Payload=json.dumps({"gate": held.port}))
                for _ in range(2)
            ]
            held.await_arrivals(1)
            held.open()
            held.await_arrivals(1)
        assert [202, 202] == [reply["StatusCode"] for reply in replies]
        assert 1 == service.cold_starts("single")

    @pytest.mark.parametrize(("kind", "told"), [("RequestResponse", "'said'"), ("Event", "None")])
    def test_a_client_context_goes_with_synchronous_invocations_only(self, client, service, tmp_path, kind, told):
        """As AWS has it: nothing that travels there, such as marks against loops, may be relied on behind an event."""
        code = "def lambda_handler(e, c): print('told', repr(c.client_context.custom['it'] if c.client_context else None))\n"
        name = f"told-{kind}"
        service.add(Function(name, write_code(tmp_path / "told", code)))
        context = base64.b64encode(json.dumps({"custom": {"it": "said"}}).encode()).decode()
        client.invoke(FunctionName=name, InvocationType=kind, ClientContext=context, Payload=b"{}")

        assert eventually(lambda: any(line.startswith("told ") for line in service.logs(name)))
        assert f"told {told}" in service.logs(name)

    def test_a_dry_run_runs_nothing(self, client, service):
        lines = len(service.logs(NAME))

        assert 204 == client.invoke(FunctionName=NAME, InvocationType="DryRun")["StatusCode"]
        assert lines == len(service.logs(NAME))


def test_functions_with_a_table_are_patient_in_tests(service, client, tmp_path):
    """`tests/patient`: their table has more than the product's second. Control: without a table nothing is changed."""
    code = "from hookcache import items\n\ndef lambda_handler(e, c): return items.Items.__init__.__defaults__[0]\n"
    folder = write_code(tmp_path / "limits", code)
    service.add(Function("with-table", folder, environment={"HOOKCACHE_TABLE": "table"}))
    service.add(Function("without-table", folder))

    assert (60.0, BUDGET_SECONDS) == (call(client, "with-table")[0], call(client, "without-table")[0])


class TestFailures:
    def test_an_exception_keeps_its_type_and_message(self, client):
        """A raised exception is FunctionError Unhandled with the runtime client's own error object."""
        error, reply = call(client, NAME, {"raise": "page 7"})

        assert ("Unhandled", 200) == (reply["FunctionError"], reply["StatusCode"])
        assert ("LookupError", "page 7") == (error["errorType"], error["errorMessage"])
        assert "lambda_handler" in "".join(error["stackTrace"])

    @pytest.mark.parametrize(
        ("name", "error_type"),
        [
            ("unimportable", "Runtime.ImportModuleError"),
            ("no-handler", "Runtime.HandlerNotFound"),
            ("no-runtime", "Runtime.ExitError"),
        ],
    )
    def test_a_function_that_cannot_start_says_why(self, client, name, error_type):
        """A failed start fails the invocation with the error that the runtime client reports, and the next one too."""
        for _ in range(2):
            error, reply = call(client, name)
            assert ("Unhandled", error_type) == (reply["FunctionError"], error["errorType"])

    def test_a_timeout_kills_the_process_and_the_next_call_is_answered(self, client, service):
        """An invocation over its time ends as Sandbox.Timedout in AWS's words; its environment is gone."""
        with gate() as held:
            error, reply = call(client, "brief", {"gate": held.port})

        request_id = reply["ResponseMetadata"]["RequestId"]
        assert "Unhandled" == reply["FunctionError"]
        assert "Sandbox.Timedout" == error["errorType"]
        assert f"RequestId: {request_id} Error: Task timed out after 0.30 seconds" == error["errorMessage"]
        assert () == service.environments("brief")
        assert any(line.endswith("Task timed out after 0.30 seconds") for line in service.logs("brief"))
        service.update_limits("brief", timeout_seconds=20)  # which the next one may need on a machine that is busy
        assert "pid" in call(client, "brief")[0]

    @pytest.mark.parametrize(("ending", "words"), [({"exit": 3}, "exit status 3"), (None, "signal: killed")])
    def test_a_process_that_ends_fails_its_invocation(self, client, service, ending, words):
        """A crash is Runtime.ExitError with status or signal; it takes no other invocation with it."""
        with gate() as held, ThreadPoolExecutor() as threads:
            doomed = threads.submit(call, client, NAME, ending or {"gate": held.port})
            if ending is None:
                held.await_arrivals(1)
                service.kill_environments(NAME)
            error, reply = doomed.result()

        assert ("Unhandled", "Runtime.ExitError") == (reply["FunctionError"], error["errorType"])
        assert error["errorMessage"].endswith(f"Runtime exited with error: {words}")
        assert "pid" in call(client, NAME)[0]

    @pytest.mark.parametrize("payload", [b"{", b"NaN", b"\xff", b"[" * 100_000], ids=["cut", "nan", "utf8", "deep"])
    def test_a_payload_that_is_no_json_is_refused(self, client, payload):
        assert (400, "InvalidRequestContentException") == refused(client, Payload=payload)

    def test_a_number_of_any_length_is_passed_on(self, client):
        """The API does not reject what the runtime alone cannot read: the runtime says so."""
        reply = client.invoke(FunctionName=NAME, Payload=b'{"echo": %s}' % (b"9" * 4301))

        assert "Unhandled" == reply["FunctionError"]
        assert b"unmarshal" in reply["Payload"].read().lower()

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("nobody", (404, "ResourceNotFoundException")),
            (f"{NAME}:nowhere", (404, "ResourceNotFoundException")),
            (ARN.replace("us-east-1", "eu-west-1"), (404, "ResourceNotFoundException")),
            (ARN.replace("123456789012", "210987654321"), (403, "AccessDeniedException")),
        ],
    )
    def test_a_function_that_is_not_there_is_refused(self, client, name, expected):
        assert expected == refused(client, name=name)

    def test_two_different_qualifiers_are_refused(self, client):
        expected = (400, "InvalidParameterValueException")
        assert expected == refused(client, name=f"{NAME}:$LATEST", Qualifier="1")


class TestSizes:
    """The limits of Lambda, on the byte: at the limit it works, one more does not."""

    @staticmethod
    def event_of(size: int) -> bytes:
        frame = b'{"text": ""}'
        return b'{"text": "%s"}' % (b"t" * (size - len(frame)))

    def test_a_request_of_6_mb_passes_and_a_byte_more_does_not(self, client):
        reply = client.invoke(FunctionName=NAME, Payload=self.event_of(SIX_MB))

        assert SIX_MB - 12 == json.loads(reply["Payload"].read())["length"]
        assert (413, "RequestTooLargeException") == refused(client, Payload=self.event_of(SIX_MB + 1))

    def test_an_event_of_1_mb_passes_and_a_byte_more_does_not(self, client):
        one_mb = 1024 * 1024
        parameters = {"FunctionName": NAME, "InvocationType": "Event"}

        assert 202 == client.invoke(Payload=self.event_of(one_mb), **parameters)["StatusCode"]
        too_large = {"InvocationType": "Event", "Payload": self.event_of(one_mb + 1)}
        assert (413, "RequestTooLargeException") == refused(client, **too_large)

    def test_an_answer_over_the_limit_is_a_function_error(self, client):
        answer, _ = call(client, NAME, {"answer_bytes": SIX_MB + 100})
        error, reply = call(client, NAME, {"answer_bytes": SIX_MB + 101})

        assert SIX_MB + 98 == len(answer)
        assert "Unhandled" == reply["FunctionError"]
        assert "Function.ResponseSizeTooLarge" == error["errorType"]
        assert "(6291556 bytes)" in error["errorMessage"]


class TestEnvironments:
    def test_a_warm_environment_is_used_again(self, client, service):
        """Calls one after the other meet one process, however close they follow."""
        service.kill_environments(NAME)
        before = service.cold_starts(NAME)
        pids = {call(client, NAME)[0]["pid"] for _ in range(20)}

        assert (1, 1) == (len(pids), service.cold_starts(NAME) - before)
        assert pids == set(service.environments(NAME))

    def test_calls_at_a_time_have_an_environment_each_and_one_too_many_is_throttled(self, client, service):
        """Concurrency is met with processes up to the function's limit; beyond it Lambda answers 429."""
        service.kill_environments(NAME)
        with gate() as held, ThreadPoolExecutor() as threads:
            calls = [threads.submit(call, client, NAME, {"gate": held.port}) for _ in range(4)]
            held.await_arrivals(4)
            throttled = refused(client, Payload=b"{}")
            held.open()
            pids = {future.result()[0]["pid"] for future in calls}

        assert (429, "TooManyRequestsException") == throttled
        assert 4 == len(pids)
        assert call(client, NAME)[0]["pid"] in pids

    def test_after_a_kill_the_next_call_is_a_cold_start(self, client, service):
        first = call(client, NAME)[0]["pid"]
        service.kill_environments(NAME)

        assert () == service.environments(NAME)
        assert first != call(client, NAME)[0]["pid"]

    def test_an_environment_that_died_idle_is_replaced(self, client, service):
        """A process that ends between invocations costs nobody an answer once its end was seen."""
        first = call(client, NAME)[0]["pid"]
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: first not in service.environments(NAME))

        assert first != call(client, NAME)[0]["pid"]

    def test_an_invocation_that_no_runtime_took_goes_to_another(self, client, service, tmp_path):
        """A runtime that ends instead of polling again has begun nothing: the caller gets an answer all the same."""
        folder = write_code(tmp_path / "once", ONE_ANSWER_RUNTIME, "bootstrap.py")
        service.add(Function("once", folder, timeout_seconds=20, command=(sys.executable, "bootstrap.py")))
        with gate() as held, ThreadPoolExecutor() as threads:
            first, _ = call(client, "once", {"gate": held.port})
            held.await_arrivals(1)
            following = threads.submit(call, client, "once", {"gate": held.port})
            held.open()
            held.await_arrivals(1)
            second, reply = following.result()

        assert "FunctionError" not in reply
        assert first["pid"] != second["pid"]

    def test_an_invocation_outlives_the_caller_that_gave_up(self, service):
        """A client's read timeout does not stop the handler; its environment is used again afterwards."""
        impatient, patient = lambda_client(service.endpoint, read_timeout=0.2), lambda_client(service.endpoint)
        first = call_when_free(patient, "single", {})[0]["pid"]
        with gate() as held:
            with pytest.raises(ReadTimeoutError):
                call(impatient, "single", {"gate": held.port})
            held.await_arrivals(1)
            assert (429, "TooManyRequestsException") == refused(patient, "single")
            held.open()
            # Its place is free when it has ended: an event waits for that.
            patient.invoke(FunctionName="single", InvocationType="Event", Payload=json.dumps({"gate": held.port}))
            held.await_arrivals(1)
            assert (first,) == service.environments("single")


class TestLogs:
    def test_lines_of_concurrent_environments_are_whole_and_reach_the_file(self, client, service):
        """What functions print is kept line by line in memory and in the function's own file, never interleaved."""
        texts = [f"{number}:" + "z" * 20_000 for number in range(8)]
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda text: call(client, NAME, {"print": text}), texts))

        lines = service.logs(NAME)
        assert sorted(texts) == sorted(line for line in lines if line.endswith("zzz"))
        assert list(lines) == (service.log_folder / f"{NAME}.log").read_bytes().decode().split("\n")[:-1]

    def test_functions_do_not_share_a_log(self, client, service):
        call_when_free(client, "single", {"print": "only here"})
        assert "only here" in service.logs("single")
        assert "only here" not in service.logs(NAME)

    def test_a_report_line_closes_every_invocation(self, client, service):
        """START, END and REPORT stand around each invocation; a cold one reports its start."""
        service.kill_environments(NAME)
        for _ in range(2):
            call(client, NAME)
        cold, warm = [line for line in service.logs(NAME) if line.startswith("REPORT")][-2:]

        assert "Init Duration" in cold
        assert "Init Duration" not in warm
        assert "Memory Size: 256 MB" in warm


class TestConfiguration:
    @pytest.mark.parametrize(
        ("name", "arn"),
        [
            (NAME, ARN),
            (f"{NAME}:$LATEST", f"{ARN}:$LATEST"),
            (f"123456789012:function:{NAME}", ARN),
            (ARN, ARN),
            (f"{ARN}:$LATEST", f"{ARN}:$LATEST"),
        ],
    )
    def test_a_function_is_found_by_every_form_of_its_name(self, client, name, arn):
        """Bare name, qualified name, partial and full ARN; the ARN comes back qualified as asked."""
        seen = client.get_function_configuration(FunctionName=name)

        assert (arn, "$LATEST", NAME) == (seen["FunctionArn"], seen["Version"], seen["FunctionName"])
        assert (20, 256) == (seen["Timeout"], seen["MemorySize"])
        assert seen["CodeSha256"] == client.get_function(FunctionName=name)["Configuration"]["CodeSha256"]
        assert arn == call(client, name)[0]["arn"]
        assert "%3A" in quote(arn, safe="")  # as boto3 puts it into the path

    def test_code_and_variables_have_a_digest_each(self, client, service, tmp_path):
        """A new environment changes ConfigSha256 alone, new code CodeSha256 alone; changing back restores both."""
        folder = write_code(tmp_path / "code", PROBE)
        service.add(Function("changing", folder))

        def digests():
            seen = client.get_function_configuration(FunctionName="changing")
            return seen["CodeSha256"], seen["ConfigSha256"], seen["RevisionId"]

        code, config, revision = digests()
        service.update_environment("changing", {"MODEL": "b"})
        code_b, config_b, revision_b = digests()
        write_code(folder, PROBE + "\n# changed\n")
        service.update_code("changing")
        code_c, config_c, revision_c = digests()
        write_code(folder, PROBE)
        service.update_code("changing")
        service.update_environment("changing", {})

        assert (code, True) == (code_b, config != config_b)
        assert (config_b, True) == (config_c, code_b != code_c)
        assert 3 == len({revision, revision_b, revision_c})
        assert (code, config) == digests()[:2]

    def test_an_update_replaces_the_environments(self, client, service, tmp_path):
        """After an update no answer comes from the old code or with the old variables."""
        service.add(Function("updated", write_code(tmp_path / "one", PROBE)))
        before = call(client, "updated")[0]
        service.update_environment("updated", {"MODEL": "b"})
        service.update_code("updated", write_code(tmp_path / "two", PROBE.replace('"first"', '"second"')))
        after = call(client, "updated")[0]

        assert (None, "b") == (before["environment"].get("MODEL"), after["environment"].get("MODEL"))
        assert ("first", "second") == (before["code"], after["code"])
        assert before["pid"] not in service.environments("updated")

    def test_versions_stay_as_published_and_aliases_move(self, client, service):
        """A version keeps its code and digests; an alias answers from the version that it points to."""
        folder = next(iter(client.get_function(FunctionName="versioned")["Code"]["Location"].split("file://")[1:]))
        one = service.publish_version("versioned")
        again = service.publish_version("versioned")
        service.alias("versioned", "live", one)
        with open(f"{folder}/app.py", "w") as code:
            code.write(PROBE.replace('"first"', '"second"'))
        service.update_code("versioned")
        old, old_reply = call(client, "versioned:live")
        two = service.publish_version("versioned")
        service.alias("versioned", "live", two)
        new, new_reply = call(client, "versioned", Qualifier="live")

        assert ("1", "1", "2") == (one, again, two)
        assert ("first", "1") == (old["code"], old_reply["ExecutedVersion"])
        assert ("second", "2") == (new["code"], new_reply["ExecutedVersion"])
        assert new["arn"].endswith("function:versioned:live")
        aliased = client.get_function_configuration(FunctionName="versioned", Qualifier="live")
        assert ("2", new["arn"]) == (aliased["Version"], aliased["FunctionArn"])
        with pytest.raises(ValueError, match="publish_version"):
            service.alias("versioned", "live", "9")

    def test_a_wrong_name_or_folder_is_said_so(self, service, tmp_path):
        with pytest.raises(ValueError, match="no function nobody"):
            service.logs("nobody")
        with pytest.raises(ValueError, match="is no folder"):
            service.add(Function("homeless", tmp_path / "missing"))
        with pytest.raises(ValueError, match="exists"):
            service.add(Function(NAME, tmp_path))
