"""`hookcache erase`: arguments, confirmation, reports and errors; what it erases is proved in unit/test_eraser.py."""

import contextlib
import hashlib
import io
import json
import subprocess
import sys

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from fakes import CANARY, answer, ocr_event, refusal
from hookcache_ops import erase
from hookcache_ops.bad_input import BadInput
from hookcache_ops.cli import main
from hookcache_ops.reach import Direct, ReachError, Through, _lambda_client, reach_of
from operator_rig import OperatedRig, arguments, operator_of, reach_to

PAGE = b"page 1"
WRAPPER_ENVIRONMENT = {"HOOKCACHE_TABLE": "cache-of-ocr", "HOOKCACHE_SECRET": "a secret", "OTHER": "theirs"}


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page-1.jpeg"
    path.write_bytes(PAGE)
    return str(path)


class Recorder:
    """A reach that keeps what it was asked and answers with prepared reports."""

    where = "a cache"

    def __init__(self, *reports):
        self.reports = list(reports)
        self.asked = []

    def ask(self, command):
        self.asked.append(dict(command))
        return self.reports.pop(0)


def report(keys=1, failed=0, **members):
    row = {
        "key_id": "9cad8744072ba47c",
        "entry": "removed",
        "created_ms": 1_790_000_000_000,
        "stored_bytes": 210,
        "overflow_objects": 0,
        "index_items": 1,
        "fetches_stopped": 0,
        "error": "",
    }
    totals = dict.fromkeys(("bytes", "overflow_objects", "index_items", "fetches_stopped"), 0)
    return {
        "command": "erase",
        "namespace": "default",
        "dry_run": False,
        "finished": True,
        "keys": keys,
        "entries": keys - failed,
        **totals,
        "failed": failed,
        "removed": [row] * keys,
        **members,
    }


def test_a_long_list_is_asked_for_in_parts_and_told_as_one(page, capsys):
    """P46: an erase function has a minute, which a look-up for each of ten thousand ids would not fit into."""
    ids = [f"{number:016x}" for number in range(450)]
    reach = Recorder(report(3), report(2, finished=False), report(4), report(1))
    args = arguments(erase, "--image", page, *(word for each in ids for word in ("--key-id", each)), "--yes", "--json")
    status = erase.carry_out(args, erase.erase_command(args), reach)
    told = json.loads(capsys.readouterr().out)

    assert (0, 10, True) == (status, told["keys"], told["finished"])
    assert [(1, 199), (0, 200), (0, 200), (0, 51)] == [
        (len(asked["images"]), len(asked["key_ids"])) for asked in reach.asked
    ]
    assert ids == [each for asked in (reach.asked[0], *reach.asked[2:]) for each in asked["key_ids"]]


def test_a_long_report_names_some_and_counts_all(page, capsys):
    """P46: the totals are exact; what --json lists is bounded, and so is what a terminal shows."""
    many = [report(700, finished=False), report(700)]
    args = arguments(erase, "--image", page, "--yes", "--json")
    erase.carry_out(args, erase.erase_command(args), Recorder(*many))
    told = json.loads(capsys.readouterr().out)
    args = arguments(erase, "--image", page, "--yes")
    erase.carry_out(args, erase.erase_command(args), Recorder(report(20)))
    shown = capsys.readouterr().out

    assert (1_400, erase.LISTED) == (told["keys"], len(told["removed"]))
    assert (20, False) == (shown.count("9cad8744072ba47c"), "more (--json" in shown)


def test_an_erase_goes_on_while_it_gets_anywhere(page, capsys):
    """P46: a round in which one key of many was erased is not the last."""
    reach = Recorder(report(2, failed=1, finished=False), report(1))
    args = arguments(erase, "--image", page, "--yes", "--json")
    erase.carry_out(args, erase.erase_command(args), reach)

    assert (2, True) == (len(reach.asked), json.loads(capsys.readouterr().out)["finished"])


@pytest.mark.parametrize(
    ("told", "argv", "status", "says"),
    [
        (report(3), ["--yes"], 0, "Erased:"),
        (report(3, failed=1), ["--yes"], 1, "1 failed: run the same command again"),
        (report(3, finished=False, dry_run=True), ["--dry-run"], 0, "at least 3 keys"),
        (report(3, failed=1, dry_run=True), ["--dry-run"], 1, "1 failed"),
    ],
    ids=["all", "some failed", "a look that was cut short", "a look that failed"],
)
def test_only_what_is_all_gone_is_told_as_done(told, argv, status, says, page, capsys):
    """P46: the exit status is what a script goes by."""
    args = arguments(erase, "--image", page, *argv)

    assert status == erase.carry_out(args, erase.erase_command(args), Recorder(told))
    assert says in capsys.readouterr().out


def test_a_part_that_is_given_up_leaves_the_whole_unfinished(page, capsys):
    """P46: the parts behind it are erased all the same; the control is the test above."""
    ids = [word for number in range(300) for word in ("--key-id", f"{number:016x}")]
    reach = Recorder(report(2, failed=2, finished=False), report(4))
    args = arguments(erase, "--image", page, *ids, "--yes", "--json")

    assert 1 == erase.carry_out(args, erase.erase_command(args), reach)
    assert (6, False) == (lambda told: (told["keys"], told["finished"]))(json.loads(capsys.readouterr().out))


def test_a_key_that_an_earlier_part_erased_is_not_told_as_never_kept(rig, operator, page, capsys):
    """P46: it goes with its page, whose part comes first; another of which nothing is kept is named all the same."""
    rig.call(ocr_event(rig.image(PAGE)))
    others = [f"{number:016x}" for number in range(erase.PART)]
    key_id = rig.last["key_id"].upper()
    names = [word for each in (*others, key_id) for word in ("--key-id", each)]
    erase_with(reach_to(operator), "--image", page, *names, "--yes", "--json")
    told = json.loads(capsys.readouterr().out)

    assert (1, others) == (told["keys"], told["nothing_of"])


def test_a_look_counts_a_key_once_that_several_parts_find(rig, operator, page, tmp_path, capsys, monkeypatch):
    """P46: by each of its pages and by its own id; what is told before the erase is what the erase then removes."""
    monkeypatch.setattr(erase, "PART", 1)
    rig.call(ocr_event(rig.image(PAGE), rig.image(b"page 2")))
    second = tmp_path / "page-2.jpeg"
    second.write_bytes(b"page 2")
    named = ["--image", page, "--image", str(second), "--key-id", rig.last["key_id"], "--json"]
    told = []
    for argv in ([*named, "--dry-run"], [*named, "--yes"]):
        erase_with(reach_to(operator), *argv)
        told.append(json.loads(capsys.readouterr().out))
    look, done = told

    assert (1, 1, 3) == (look["keys"], look["entries"], look["index_items"])
    assert {name: done[name] for name in erase.TOTALS if name != "keys"} == {
        name: look[name] for name in erase.TOTALS if name != "keys"
    }
    assert [rig.last["key_id"]] == [each["key_id"] for each in look["removed"]]


@pytest.mark.parametrize("made", [10**15, 10**37])
def test_a_time_that_no_calendar_has_is_not_told(made, page, capsys):
    """T5: whoever can write the table says when an entry was made."""
    told = report()
    told["removed"][0]["created_ms"] = made

    assert 0 == erase_with(Recorder(told), "--image", page, "--yes")
    assert "9cad8744072ba47c  -  " in capsys.readouterr().out


def erase_with(rig_or_reach, *argv, s3=None):
    args = arguments(erase, *argv)
    return erase.carry_out(args, erase.erase_command(args, s3), rig_or_reach)


# -------------------------------------------------------------------- the whole command


def test_a_page_is_erased_by_its_file(rig, operator, page, capsys):
    """P46: the digest of the file is all that leaves this machine; the report says what is gone."""
    event = ocr_event(rig.image(PAGE))
    rig.call(event)
    shown = rig.last["key_id"]
    assert 0 == erase_with(reach_to(operator), "--image", page, "--yes")
    told = capsys.readouterr().out
    rig.call(event, rig.second)

    assert "1 key, 1 entry of 210 bytes" in told
    assert shown in told
    assert "erased" == rig.last["reason"]


def test_a_request_is_erased_by_its_event(rig, operator, tmp_path, capsys):
    """P46: its images are read from S3 where they still lie, and digested by the hook's own code (P5)."""
    event = ocr_event(rig.image(PAGE))
    rig.call(event)
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event))
    assert 0 == erase_with(reach_to(operator), "--event", str(path), "--yes", "--json", s3=lambda: rig.s3)

    said = json.loads(capsys.readouterr().out)
    assert (1, 1) == (said["keys"], said["entries"])
    assert CANARY not in json.dumps(said)


def test_a_request_that_names_its_page_is_erased_by_its_event(tmp_path, capsys):
    """P41, P46: what the step's policy resolves counts by its content, here as in the hook."""
    policy = json.dumps({"Classification": {"resolve_references": ["pageOutputUri"]}})
    with OperatedRig(HOOKCACHE_POLICY=policy) as rig, operator_of(rig) as commands:
        page = rig.image(b"pixels", name="temp/lambdahook/1/image.jpg").removesuffix("image.jpg")
        rig.image(b"text", name="temp/lambdahook/1/rawText.json")
        event = ocr_event() | {"context": "Classification", "pageOutputUri": page}
        rig.backend.handler = lambda asked: answer('{"class": "letter"}')
        rig.call(event)
        path = tmp_path / "event.json"
        path.write_text(json.dumps(event))
        status = erase_with(reach_to(commands), "--event", str(path), "--yes", "--json", s3=lambda: rig.s3)

    assert ("miss", "") == (rig.last["outcome"], rig.last["refusal"])
    assert 0 == status
    assert 1 == json.loads(capsys.readouterr().out)["entries"]


def test_nothing_found_is_said_and_is_no_failure(operator, page, capsys):
    """An erasure that was done before, or of a page that was never cached, is done."""
    assert 0 == erase_with(reach_to(operator), "--image", page, "--yes")
    assert f"Nothing is kept of {page}. (" in capsys.readouterr().out
    assert 0 == erase_with(reach_to(operator), "--image", page, "--yes", "--json")
    assert 0 == json.loads(capsys.readouterr().out)["keys"]


def test_a_dry_run_asks_for_nothing_else(page, capsys):
    reach = Recorder(report(dry_run=True))
    assert 0 == erase_with(reach, "--image", page, "--dry-run")

    assert [True] == [asked["dry_run"] for asked in reach.asked]
    told = capsys.readouterr().out
    assert "Would be erased:" in told
    assert "kept" in told
    assert "removed" not in told


def test_a_long_erase_is_asked_to_go_on_until_it_is_done(page, capsys):
    """3.7: reports of several rounds become one."""
    reach = Recorder(report(2, finished=False), report(3, finished=False), report(1))
    assert 0 == erase_with(reach, "--image", page, "--yes", "--json")
    captured = capsys.readouterr()

    assert (6, 6) == (json.loads(captured.out)["keys"], len(json.loads(captured.out)["removed"]))
    assert "5 keys so far" in captured.err


@pytest.mark.parametrize("how", [["--yes"], ["--dry-run"]])
def test_the_page_of_which_nothing_is_kept_is_named(rig, operator, page, tmp_path, capsys, how):
    """Among others that are erased it would pass for erased: a page that was rendered anew is another."""
    rig.call(ocr_event(rig.image(PAGE)))
    other = tmp_path / "anew.jpeg"
    other.write_bytes(b"rendered anew")
    named = ["--image", str(other), "--image", page, "--key-id", "0" * 16]
    assert 0 == erase_with(reach_to(operator), *named, "--dry-run", "--json")
    told = json.loads(capsys.readouterr().out)
    assert 0 == erase_with(reach_to(operator), *named, *how)

    assert [str(other), "0" * 16] == told["nothing_of"]
    assert f"Nothing is kept of {other}, {'0' * 16}.\n" in capsys.readouterr().out


def test_what_is_named_twice_is_not_told_as_never_kept(rig, operator, page, capsys):
    """A second part of the list finds nothing of what the first has erased."""
    rig.call(ocr_event(rig.image(PAGE)))
    unknown = [f"{number:016x}" for number in range(erase.PART)]
    named = [word for each in (rig.last["key_id"], *unknown, rig.last["key_id"]) for word in ("--key-id", each)]
    assert 0 == erase_with(reach_to(operator), *named, "--yes", "--json")
    assert unknown == json.loads(capsys.readouterr().out)["nothing_of"]


def test_what_an_earlier_round_erased_is_not_told_as_never_kept(page, capsys):
    """The second round finds nothing of it; an erase function of an older release does not say what it did not find."""
    unfound = [hashlib.sha256(PAGE).hexdigest()]
    reach = Recorder(report(2, finished=False), report(0, nothing_of=unfound))
    assert 0 == erase_with(reach, "--image", page, "--yes", "--json")
    assert [] == json.loads(capsys.readouterr().out)["nothing_of"]


def test_an_erase_that_gets_nowhere_ends(page, capsys):
    """Keys that fail in every round are found in every round: the command gives up with status 1."""
    reach = Recorder(report(2, failed=2, finished=False))
    assert 1 == erase_with(reach, "--image", page, "--yes")
    assert "run the same command again" in capsys.readouterr().out


@pytest.mark.parametrize(("fault", "status"), [("command", 2), ("cache", 1)])
def test_an_error_in_the_report_is_told(page, capsys, fault, status):
    assert status == erase_with(Recorder({"error": "why, and what to do", "fault": fault}), "--image", page, "--yes")
    assert "hookcache erase: why, and what to do\n" == capsys.readouterr().err


@pytest.mark.parametrize(("typed", "status", "asked"), [("y\n", 0, [True, False]), ("\n", 1, [True])])
def test_it_shows_what_there_is_and_asks_first(page, monkeypatch, capsys, typed, status, asked):
    """Without --yes an erase begins with a look, and only a yes goes on."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    reach = Recorder(report(dry_run=True), report())

    assert status == erase_with(reach, "--image", page)
    assert asked == [each["dry_run"] for each in reach.asked]
    assert "Erase a cache? [y/N]" in capsys.readouterr().err


def test_without_a_terminal_it_does_not_erase_unasked(page, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(BadInput, match="add --yes"):
        erase_with(Recorder(report(dry_run=True)), "--image", page)


# -------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("argv", "remedy"),
    [
        ([], "--image FILE"),
        (["--image", "no-such-file"], "give a file"),
        (["--event", "no-such-file"], "give a file"),
        (["--key-id", "short"], "16 hexadecimal digits"),
        (["--key-id", "9cad8744072ba47"], "16 hexadecimal digits"),
        (["--key-id", "9cad8744072ba47c", "--soft"], "two commands"),
        (["--key-id", "9cad8744072ba47c", "--before", "2h"], "two commands"),
        (["--before", "2h"], "--context STEP"),
        (["--soft"], "--namespace NAME"),
        (["--context", "OCR", "--before", "2999-01-01"], "leave it out"),
        (["--key-id", "9cad8744072ba47c", "--through", "a", "--direct"], "one of them"),
        (["--key-id", "9cad8744072ba47c"], "--function"),
    ],
)
def test_bad_input_is_one_line_that_names_the_remedy(argv, remedy, capsys, monkeypatch):
    """Status 2 and no traceback."""
    monkeypatch.delenv("HOOKCACHE_TABLE", raising=False)
    monkeypatch.setenv("HOOKCACHE_SECRET", "a secret")
    status = main(["erase", *argv, "--yes"])
    written = capsys.readouterr().err

    assert 2 == status
    assert remedy in written
    assert 1 == written.count("\n")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "never cached (event_shape)"),
        (json.dumps(ocr_event("https://elsewhere/page.jpeg")), "never cached (image_not_allowed)"),
        (json.dumps(ocr_event("s3://")), "never cached (image_not_allowed)"),
        (json.dumps(ocr_event("s3:///x.jpeg")), "never cached (image_not_allowed)"),
        (json.dumps(ocr_event("s3://bucket/gone.jpeg")), "give the pages themselves with --image"),
    ],
)
def test_an_event_that_cannot_be_erased_says_why(rig, tmp_path, text, remedy):
    path = tmp_path / "event.json"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        erase.erase_command(arguments(erase, "--event", str(path)), lambda: rig.s3)
    assert remedy in str(caught.value)


def test_an_empty_page_is_refused(tmp_path):
    """P42: an empty digest is nobody's page."""
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(BadInput, match="is empty"):
        erase.erase_command(arguments(erase, "--image", str(tmp_path / "empty")))


# -------------------------------------------------------------------- which cache


class Functions:
    """A Lambda client that knows some functions and what they answer."""

    def __init__(self, known=(), answer=None, error=None):
        self.known, self.answer, self.error = known, answer, error
        self.invoked = []

    def get_function_configuration(self, **arguments):
        name = arguments["FunctionName"]
        if self.error is not None:
            raise self.error
        if name not in self.known:
            raise refusal("ResourceNotFoundException", operation="GetFunctionConfiguration")
        return {"FunctionName": name, "Environment": {"Variables": WRAPPER_ENVIRONMENT}}

    def invoke(self, **arguments):
        if self.error is not None:
            raise self.error
        self.invoked.append((arguments["FunctionName"], json.loads(arguments["Payload"])))
        if isinstance(self.answer, bytes):
            return {"StatusCode": 200, "Payload": io.BytesIO(self.answer)}
        if self.answer == "the event":
            return {"StatusCode": 200, "Payload": io.BytesIO(arguments["Payload"])}
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(self.answer).encode())} | (
            {"FunctionError": "Unhandled"} if "errorType" in (self.answer or {}) else {}
        )


def reached(client, *argv):
    return reach_of(arguments(erase, *argv), client, {})


@pytest.mark.parametrize(
    ("argv", "known", "kind", "where"),
    [
        (
            ["--function", "GENAIIDP-cache-ocr"],
            ["GENAIIDP-cache-ocr", "hookcache-erase-ocr"],
            Through,
            "through hookcache-erase-ocr",
        ),
        *(
            (["--function", named], [named, "hookcache-erase-ocr"], Through, "through hookcache-erase-ocr")
            for named in (
                "GENAIIDP-cache-ocr:live",
                "123456789012:function:GENAIIDP-cache-ocr",
                "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-cache-ocr:live",
            )
        ),
        (
            ["--function", "GENAIIDP-cache-ocr"],
            ["GENAIIDP-cache-ocr"],
            Direct,
            "in table cache-of-ocr, namespace default",
        ),
        (
            ["--function", "GENAIIDP-cache-ocr", "--direct"],
            ["GENAIIDP-cache-ocr", "hookcache-erase-ocr"],
            Direct,
            "in table cache-of-ocr, namespace default",
        ),
        (["--function", "own-hook"], ["own-hook"], Direct, "in table cache-of-ocr, namespace default"),
        (["--through", "hookcache-erase-ocr"], [], Through, "through hookcache-erase-ocr"),
    ],
)
def test_the_wrappers_name_leads_to_its_erase_function_else_to_its_table(argv, known, kind, where):
    """The erase function is the default where it is deployed: its role does it, and the secret stays where it is."""
    found = reached(Functions(known), *argv)

    assert (kind, where) == (type(found), found.where)


@pytest.mark.parametrize(
    ("client", "remedy"),
    [
        (Functions(), "check the name and AWS_REGION"),
        (Functions(error=refusal("AccessDeniedException")), "ask for lambda:InvokeFunction"),
        (Functions(error=NoCredentialsError()), "AWS_PROFILE"),
        (Functions(error=EndpointConnectionError(endpoint_url="https://lambda")), "check the network"),
    ],
)
def test_a_cache_that_cannot_be_found_says_what_to_do(client, remedy):
    with pytest.raises(ReachError) as caught:
        reached(client, "--function", "GENAIIDP-cache-ocr")
    assert remedy in str(caught.value)


@pytest.mark.parametrize("argv", [[], ["--direct"]])
def test_an_environment_that_may_not_be_read_is_said(argv):
    """A key that the caller may not use hides it: not that it names no table."""
    client = Functions(known=["GENAIIDP-cache-ocr"])
    client.get_function_configuration = lambda **_: {"Environment": {"Error": {"ErrorCode": "AccessDeniedException"}}}

    with pytest.raises(ReachError, match="kms:Decrypt on its key, or --through"):
        reached(client, "--function", "GENAIIDP-cache-ocr", *argv)


def test_an_erase_is_asked_for_once(monkeypatch):
    """P46: it may run for minutes, and one that the SDK asked for again would run beside the first."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    config = _lambda_client().meta.config

    assert 1 == config.retries["total_max_attempts"]
    assert config.read_timeout > 900


def test_the_erase_function_is_asked_with_digests_only(page):
    """P36: neither page nor file name travels."""
    client = Functions(answer=report())
    assert 0 == erase_with(reached(client, "--through", "hookcache-erase-ocr"), "--image", page, "--yes", "--json")

    (name, payload) = client.invoked[0]
    assert "hookcache-erase-ocr" == name
    assert {
        "command": "erase",
        "images": [hashlib.sha256(PAGE).hexdigest()],
        "forms": [],
        "key_ids": [],
        "dry_run": False,
    } == payload


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            answer("Nothing to read"),
            "is no erase function; the cache was not asked. Name one that is called hookcache-erase-",
        ),
        ("the event", "is no erase function; the cache was not asked. Name one that is called hookcache-erase-"),
        (b"Nothing to read", "failed (no report); its log says why, or run again with --direct"),
        (b"", "failed (no report); its log says why, or run again with --direct"),
    ],
    ids=["an answer", "its event", "no JSON", "nothing"],
)
@pytest.mark.parametrize(
    "command",
    [
        ["erase", "--key-id", "9cad8744072ba47c", "--yes"],
        ["invalidate", "--context", "OCR", "--yes"],
        ["invalidate", "--generation", "2", "--yes"],
        ["mode", "off"],
        ["mode", "--show"],
    ],
    ids=" ".join,
)
def test_a_function_that_is_no_erase_function_is_told_as_such(command, told, said, monkeypatch, capsys):
    """A hook takes any event, an order too, and gives it to its backend: what comes back is an answer and no report."""
    client = Functions(answer=told)
    monkeypatch.setattr("hookcache_ops.reach._lambda_client", lambda: client)

    assert 2 == main([*command, "--through", "GENAIIDP-cache-ocr"])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"GENAIIDP-cache-ocr {said}" in line


def test_an_erase_function_that_fails_is_told_by_its_error_type():
    client = Functions(answer={"errorType": "ConfigurationError", "errorMessage": "text"})
    with pytest.raises(ReachError, match=r"hookcache-erase-ocr failed \(ConfigurationError\)"):
        reached(client, "--through", "hookcache-erase-ocr").ask({"command": "show"})


@pytest.mark.parametrize("name", ["erase", "invalidate", "mode"])
def test_help_shows_an_example(name):
    done = subprocess.run(
        [sys.executable, "-m", "hookcache_ops.cli", name, "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert f"hookcache {name} " in done.stdout.split("examples:")[1]


# -------------------------------------------------------------------- cut short


class Cut(Recorder):
    """A reach whose last answer is an interruption or an error."""

    def ask(self, command):
        report = super().ask(command)
        if isinstance(report, BaseException):
            raise report
        return report


@pytest.mark.parametrize("argv", [[], ["--json"]], ids=["text", "json"])
def test_ctrl_c_tells_what_was_erased_until_then_and_how_to_go_on(page, capsys, argv):
    """P46: half an erase must not look like none, nor like a whole one; status 1, as for every command that was cut short."""
    reach = Cut(report(2, finished=False), report(3, finished=False), KeyboardInterrupt())
    assert 1 == erase_with(reach, "--image", page, "--yes", *argv)
    captured = capsys.readouterr()

    if argv:
        assert (5, False) == (json.loads(captured.out)["keys"], json.loads(captured.out)["finished"])
    else:
        assert captured.out.startswith("Erased so far:\n  5 keys")
    last = captured.err.splitlines()[-1]
    assert last.startswith("hookcache erase: interrupted; what the last 5 s removed is in no figure. ")
    assert last.endswith("Run the same command again: it finds what is left")


def test_ctrl_c_before_the_first_report_promises_nothing(page, capsys):
    """P46: some of it may be gone."""
    assert 1 == erase_with(Cut(KeyboardInterrupt()), "--image", page, "--yes")
    captured = capsys.readouterr()

    assert "" == captured.out
    assert "interrupted; what the last 5 s removed is in no figure" in captured.err


def test_ctrl_c_does_not_stop_the_erase_function_and_says_so(page, capsys):
    """P46: it was asked, and works on in its own environment."""

    class Interrupted:
        def invoke(self, **arguments):
            raise KeyboardInterrupt

    reach = Through(Interrupted(), "hookcache-erase-ocr", "through it")
    assert 1 == erase_with(reach, "--image", page, "--yes")
    assert "interrupted; hookcache-erase-ocr goes on with what it was asked" in capsys.readouterr().err


def test_ctrl_c_at_the_look_or_the_question_erases_nothing_and_says_so(page, monkeypatch, capsys):
    """P46: before the yes nothing is removed."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

        def readline(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal())
    for reach in (Cut(KeyboardInterrupt()), Cut(report(dry_run=True))):
        assert 1 == erase_with(reach, "--image", page)
        assert capsys.readouterr().err.endswith("hookcache erase: interrupted; nothing was erased\n")


@pytest.mark.parametrize(
    "trouble", [{"error": "no rights", "fault": "cache"}, ReachError("no network")], ids=["told", "raised"]
)
def test_trouble_half_way_tells_what_was_erased_until_then(page, capsys, trouble):
    """P46: what the rounds before removed is gone, whatever ended the last one."""
    reach = Cut(report(2, finished=False), trouble)
    with contextlib.suppress(ReachError):
        assert 1 == erase_with(reach, "--image", page, "--yes")
    assert "Erased so far:\n  2 keys" in capsys.readouterr().out
