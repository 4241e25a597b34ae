"""`hookcache explain` on events, receipts and the deployed cache."""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import threading

import pytest
from botocore.exceptions import ClientError, NoCredentialsError, ProfileNotFound
from PIL import Image, ImageDraw

from fakes import event_of, extraction_event, image_block, ocr_event
from hookcache.canonical import canonical_form
from hookcache.orders import Orders
from hookcache.request import parse
from hookcache_ops.bad_input import BadInput
from hookcache_ops.cli import main
from hookcache_ops.explain.deployed import DeployedError, look_up
from hookcache_ops.explain.events import compare
from hookcache_ops.explain.inputs import given, payloads
from hookcache_ops.explain.recent import Distinct, Recent, Sample
from hookcache_ops.explain.texts import difference_of
from hookcache_ops.explain.told import changes_told, verdict_told
from operator_rig import OperatedRig

TRACED = '{"*": {"trace": true}}'


def picture(quality: int = 95, kind: str = "JPEG", mark: str = "Invoice 4711", size=(200, 120)) -> bytes:
    page = Image.new("RGB", size, "white")
    ImageDraw.Draw(page).text((10, 10), mark, fill="black")
    out = io.BytesIO()
    page.save(out, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return out.getvalue()


def unread(_location):
    return None


class TestTexts:
    @pytest.mark.parametrize(
        ("other", "cause", "said"),
        [
            ("Caf\u00e9 of A\r\nand B", "spacing", "CRLF"),
            ("Cafe\u0301 of A\nand B", "spacing", "NFC against NFD"),
            ("Caf\u00e9\u200b of A\nand B", "spacing", "U+200B"),
            ("Caf\u00e9 of A \nand B", "spacing", "spaces at the end of a line"),
            ("Caf\u00e9 of A\nand B\n", "spacing", "a line end at the end"),
            ("Caf\u00e9  of A\nand B", "spacing", "white space"),
            ("Caf\u00e9 of B\nand A", "attribute_order", "another order"),
            ("Caf\u00e9 of A\nand, B", "punctuation", "punctuation"),
            ("Caf\u00e9 of A\nor B", "", "other words"),
        ],
    )
    def test_a_difference_is_named(self, other, cause, said):
        """P58, P2: each of them makes another key; what cannot be seen is said."""
        told = difference_of("Caf\u00e9 of A\nand B", other)

        assert cause == told.cause
        assert said in told.said

    @pytest.mark.parametrize(
        ("one", "other", "cause"),
        [
            ("at 2026-11-21T10:00:01Z", "at 2026-11-21T10:00:02Z", "time_stamp"),
            ("on Nov 21, 2026", "on Nov 22, 2026", "time_stamp"),
            ("t=1790000000", "t=1790000001", "time_stamp"),
            ("job 9f1c2d7e-5b3a-4c6d-8e0f-112233445566", "job 0b7e4a91-c2d3-4f5f-8a6b-7c8d9e0f1a2b", "time_stamp"),
            ("at most 20 rows", "at most 30 rows", "values_changed"),
        ],
    )
    def test_values_that_look_like_a_time_are_told_from_other_numbers(self, one, other, cause):
        """P58: a time stamp or an id is to be taken out; a number may be meant."""
        assert cause == difference_of(one, other).cause

    def test_the_place_is_given_and_what_is_invisible_is_spelt_out(self):
        """P58: line and character from 1; zero widths, combining marks and line ends by their code points."""
        told = difference_of("one\ntwo e\u0301 x", "one\ntwo \u00e9\u200b x")

        assert (2, 5) == (told.line, told.column)
        assert "two e<U+0301> x" in told.before
        assert "two \u00e9<U+200B> x" in told.after
        assert ("@@ -1,2 +1,2 @@", " one", "-two e<U+0301> x", "+two \u00e9<U+200B> x") == told.diff

    def test_one_long_line_is_compared_by_words_around_the_difference(self):
        """P58: a diff of two lines of 40,000 characters would say nothing."""
        told = difference_of("word " * 8_000 + "yes" + " end" * 90, "word " * 8_000 + "no" + " end" * 90)

        assert ("-yes", "+no") == told.diff


class TestEvents:
    def test_what_does_not_count_is_named_as_such(self):
        """P2 (E1-E4): member order, spelling of numbers, cache points, names and owners of the same image."""
        one = event_of("OCR", ["x", image_block("s3://b/temp/1.jpeg")], [{"text": "a"}], topK=5)
        other = event_of("OCR", ["x", image_block("s3://b/temp/2.jpeg", owner="1" * 12)], [{"text": "a<<CACHEPOINT>>"}])
        other["inferenceConfig"] = {"topK": 5, "temperature": 0}
        told = compare(one, other, lambda location: b"the same page")

        assert told.same_key
        assert 4 == len(told.without_effect)
        assert "0.0 and 0" in " ".join(told.without_effect)

    @pytest.mark.parametrize(
        ("path", "value", "cause"),
        [
            (("inferenceConfig", "temperature"), "0", "numbers"),
            (("inferenceConfig", "temperature"), False, "numbers"),
            (("inferenceConfig", "topK"), 6, "numbers"),
            (("inferenceConfig", "temperature"), None, "numbers"),
            (("context",), "OCR", ""),
            (("system", 0, "text"), "Be  exact. Mrs Canary", ""),
        ],
    )
    def test_a_change_is_found_at_its_path(self, path, value, cause):
        """P58, P3: text `0` and the number 0 are two things; so are false and 0."""
        one = extraction_event()
        other = copy.deepcopy(one)
        holder = other
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = value
        (change,) = compare(one, other, unread).changes

        shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
        assert (shown, cause) == (change.path, change.cause)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"inferenceConfig": {}}, "sampling"),
            ({"inferenceConfig": {"temperature": 0.7}}, "sampling"),
            ({"page": "s3://bucket/page/"}, "reference"),
            ({"more": float("nan")}, "number"),
            (
                {"messages": [{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": "x"}}}]}]},
                "inline_image",
            ),
        ],
    )
    def test_events_that_bypass_the_cache_answer_nothing(self, change, reason):
        """P16, P42, P58: equal as they are, the second is not answered by the first one's answer."""
        one = {**event_of("OCR", ["read"]), **change}
        told = compare(one, copy.deepcopy(one), unread)
        said = "\n".join(changes_told(told))

        assert (False, [], (reason, reason)) == (told.same_key, told.changes, told.bypassed)
        assert f"Both bypass the cache, reason `{reason}`: " in said
        assert "under the default rules neither is answered" in said
        assert "one key" not in said

    def test_of_two_events_one_may_bypass_the_cache(self):
        """P16, P58: and the other need not."""
        one = event_of("OCR", ["read"])
        told = compare(one, {**one, "inferenceConfig": {"temperature": 1}}, unread)

        assert ("", "sampling") == told.bypassed
        assert "The second bypasses the cache, reason `sampling`" in "\n".join(changes_told(told))

    def test_a_cache_point_counts_but_in_a_text_of_system(self):
        """E4, P58: in a member that nobody knows it is a text like any other, below `system` as well."""
        one = event_of("OCR", ["read"], [{"text": "Be brief.", "more": [{"text": "Now"}]}])
        inside, below = copy.deepcopy(one), copy.deepcopy(one)
        inside["system"][0]["text"] += "<<CACHEPOINT>>"
        below["system"][0]["more"][0]["text"] += "<<CACHEPOINT>>"
        keyed = [canonical_form(parse(event), []) for event in (one, inside, below)]

        assert [each == keyed[0] for each in keyed[1:]] == [
            compare(one, event, unread).same_key for event in (inside, below)
        ]
        assert keyed[0] != keyed[2]

    @pytest.mark.parametrize("more", [{}, {"versionId": "1"}])
    def test_a_place_with_a_member_that_nobody_knows_counts_by_its_name_too(self, more):
        """P4, P58: such a member may select part of the object, so the key holds the name as well."""
        one, other = ocr_event("s3://b/temp/1.jpeg"), ocr_event("s3://b/temp/2.jpeg")
        for event in (one, other):
            event["messages"][0]["content"][1]["image"]["source"]["s3Location"] |= more
        told = compare(one, other, lambda location: b"the same page")

        assert (not more) == told.same_key
        assert bool(more) == any(change.path.endswith("s3Location.uri") for change in told.changes)

    def test_an_omitted_temperature_has_a_name(self):
        """P16, P58."""
        one, other = extraction_event(), extraction_event()
        del other["inferenceConfig"]["temperature"]
        (change,) = compare(one, other, unread).changes

        assert ("temperature_omitted", "absent") == (change.cause, change.after)

    @pytest.mark.parametrize(
        ("other", "cause", "said"),
        [
            (picture(quality=80), "image_reencoded", "nearly the same pixels"),
            (picture(kind="PNG"), "image_reencoded", "encoded anew"),
            (picture(size=(400, 240), mark=""), "image_reencoded", "another size"),
            (picture(mark="Invoice 4712 " * 3 + "\n" * 3 + "#" * 30, size=(90, 40)), "", "another picture"),
            (b"no picture", "", "no picture"),
        ],
    )
    def test_images_that_differ_in_bytes_are_compared_by_pixels(self, other, cause, said):
        """P4, P58: encoded anew is another image for the key, and the remedy is the renderer's."""
        first = picture(mark="") if "another size" in said else picture()
        bodies = {"s3://b/1": first, "s3://b/2": other}
        told = compare(ocr_event("s3://b/1"), ocr_event("s3://b/2"), lambda location: bodies[location["uri"]])
        (change,) = told.changes

        assert (cause, "messages[0].content[1].image") == (change.cause, change.path)
        assert said in change.said

    def test_without_the_images_nobody_says_that_the_key_is_the_same(self):
        """P4: names tell nothing."""
        told = compare(ocr_event("s3://b/1"), ocr_event("s3://b/2"), unread)

        assert (False, [], True) == (told.same_key, told.changes, told.unread)


@pytest.fixture
def rig():
    with OperatedRig(HOOKCACHE_POLICY=TRACED) as rig:
        yield rig


class TestDeployed:
    def test_an_event_that_hits_tells_tier_and_age(self, rig):
        """P58: through the hook's own look-up; nothing is written by it."""
        event = ocr_event(rig.image(b"page"))
        rig.call(event)
        rig.clock.advance(90)
        before = copy.deepcopy(rig.dynamodb.items)
        verdict = look_up(event, rig.settings, "", rig.clients, rig.clock)

        assert ("hit_table", 90.0, rig.last["key_id"]) == (verdict.outcome, verdict.age_seconds, verdict.key_id)
        assert 7 * 86_400 - 90 == verdict.fresh_seconds_left
        assert before == rig.dynamodb.items
        assert "the table has an answer" in next(verdict_told(verdict))

    def test_an_event_that_misses_tells_why(self, rig):
        """P58: absent; expired; and asked under another generation, which only the index shows."""
        event = ocr_event(rig.image(b"page"))
        fresh = look_up(event, rig.settings, "", rig.clients, rig.clock)
        rig.call(event)
        other = look_up(event, {**rig.settings, "HOOKCACHE_GENERATION": "2"}, "", rig.clients, rig.clock)
        rig.clock.advance(8 * 86_400)
        late = look_up(event, rig.settings, "", rig.clients, rig.clock)

        assert ("miss", "absent", 0) == (fresh.outcome, fresh.reason, fresh.others)
        assert ("miss", "absent", 1) == (other.outcome, other.reason, other.others)
        assert ("miss", "expired") == (late.outcome, late.reason)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [({"inferenceConfig": {}}, "sampling"), ({"page": "s3://x/"}, "reference"), ({"messages": []}, "event_shape")],
    )
    def test_an_event_that_bypasses_tells_why(self, rig, change, reason):
        """P58, P16, P41."""
        verdict = look_up({**ocr_event(), **change}, rig.settings, "", rig.clients, rig.clock)

        assert ("bypass", reason) == (verdict.outcome, verdict.reason)
        assert "Remedy" in "".join(verdict_told(verdict)) or reason == "event_shape"

    @pytest.mark.parametrize(
        ("settings", "ordered", "told"),
        [
            ("on", None, ("hit_table", "on")),
            ("on", "off", ("bypass", "off")),
            ("observe", "on", ("hit_table", "on")),
            ("off", "on", ("bypass", "off")),
        ],
    )
    def test_the_mode_is_the_one_that_the_function_goes_by(self, rig, settings, ordered, told):
        """P50: an order goes before the settings, but where these say `off` nobody reads it; the hook itself agrees."""
        event = ocr_event(rig.image(b"page"))
        rig.call(event)
        rig.first.cache.control.amend(lambda _: Orders(modes={"*": ordered} if ordered else {}))
        verdict = look_up(event, rig.settings | {"HOOKCACHE_MODE": settings}, "", rig.clients, rig.clock)
        rig.call(event, rig.cold_start(HOOKCACHE_MODE=settings))

        assert told == (verdict.outcome, verdict.mode)
        assert told[0] == rig.last["outcome"]

    def test_a_secret_that_is_not_had_may_be_a_login_that_is_over(self, rig):
        """The commonest of all troubles: rights may be as they should."""
        settings = {name: value for name, value in rig.settings.items() if name != "HOOKCACHE_SECRET"}
        arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:hookcache-AbCdEf"
        rig.clients.secrets.error = ProfileNotFound(profile="gone")
        with pytest.raises(DeployedError, match="login has expired"):
            look_up(ocr_event(), settings | {"HOOKCACHE_SECRET_ARN": arn}, "", rig.clients, rig.clock)

    def test_a_login_that_is_missing_is_no_verdict_on_the_function(self, rig):
        """Neither `table_down` nor `backend_unknown`: the deployed function may be as well as ever."""
        event = ocr_event(rig.image(b"page"))
        rig.clients.backend.describe_error = NoCredentialsError()
        with pytest.raises(DeployedError, match=r"backend cannot be looked up: .*AWS_PROFILE"):
            look_up(event, rig.settings, "", rig.clients, rig.clock)
        rig.dynamodb.misbehave(NoCredentialsError())
        for identity in ("auto", "pinned"):
            with pytest.raises(DeployedError, match=r"NoCredentialsError\); set AWS_PROFILE"):
                look_up(event, rig.settings | {"HOOKCACHE_IDENTITY": identity}, "", rig.clients, rig.clock)

    def test_a_backend_that_is_not_there_is_one(self, rig):
        """The function cannot look it up either."""
        refusal = {"Error": {"Code": "ResourceNotFoundException", "Message": "Function not found"}}
        rig.clients.backend.describe_error = ClientError(refusal, "GetFunctionConfiguration")
        verdict = look_up(ocr_event(rig.image(b"page")), rig.settings, "", rig.clients, rig.clock)
        assert (verdict.outcome, verdict.reason) == ("bypass", "backend_unknown")

    @pytest.mark.parametrize("missing", ["HOOKCACHE_TABLE", "HOOKCACHE_BACKEND"])
    def test_without_what_it_needs_it_says_what_to_give(self, rig, missing):
        """Bad input: one line with the remedy."""
        with pytest.raises(DeployedError, match=missing):
            look_up(
                ocr_event(), {k: v for k, v in rig.settings.items() if k != missing}, "they", rig.clients, rig.clock
            )


class TestCommand:
    def test_two_events(self, tmp_path, capsys):
        """Exit 0; place, diff and remedy; `--json` the same."""
        files = [tmp_path / "a.json", tmp_path / "b.json"]
        for file, at in zip(files, ("10:00:01", "10:00:02"), strict=True):
            file.write_text(json.dumps(event_of("OCR", [f"Read this.\nProcessed at {at}."]), indent=1))
        assert main(["explain", *map(str, files)]) == 0
        shown = capsys.readouterr().out
        assert main(["explain", *map(str, files), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)

        assert "messages[0].content[0].text, line 2, character 21" in shown
        assert "[time stamp in the prompt]" in shown
        assert ["time_stamp"] == [change["cause"] for change in told["changes"]]

    def test_an_event_that_an_editor_of_windows_wrote_is_an_event(self, tmp_path, capsys):
        """Its byte order mark is no part of it, in a file of events beside a log neither."""
        files = [tmp_path / "a.json", tmp_path / "b.json"]
        for file in files:
            file.write_text(json.dumps(event_of("OCR", [f"Read {file.name}."])), encoding="utf-8-sig")
        beside = tmp_path / "payloads.jsonl"
        beside.write_text(json.dumps({"request_id": "1", "event": event_of("OCR", [])}), encoding="utf-8-sig")

        assert main(["explain", *map(str, files)]) == 0
        assert "The two events have different keys; 1 difference" in capsys.readouterr().out
        assert ["1"] == list(payloads([str(beside)], ["1"]))

    def test_two_receipts_and_one_request_of_a_log(self, rig, tmp_path, capsys):
        """P58: without content: the component, and that it differs in spacing alone."""
        for text in ("Read this page.", "Sum it up", "Read this  page."):
            rig.call(event_of("OCR", [text]))
        files = [tmp_path / f"{number}.json" for number in range(3)]
        for file, receipt in zip(files, rig.receipts, strict=True):
            file.write_text(json.dumps(receipt))
        log = tmp_path / "log"
        log.write_text("START\n" + rig.stdout.text)
        assert main(["explain", str(files[0]), str(files[2])]) == 0
        pair = capsys.readouterr().out
        assert main(["explain", str(log), "--request", rig.last["request_id"]]) == 0
        near = capsys.readouterr().out

        assert "text block 1: only white space or invisible characters differ" in pair
        assert f"Nearest earlier request: {rig.receipts[0]['request_id']}" in near

    def test_an_event_against_the_cache_with_a_log_beside_it(self, rig, tmp_path, capsys, monkeypatch):
        """P58: the nearest earlier request by the trace that the event itself would leave."""
        rig.call(event_of("OCR", ["Read this page.", "Now."]))
        log, file = tmp_path / "log", tmp_path / "event.json"
        log.write_text(rig.stdout.text + rig.stdout.text.replace(rig.last["request_id"], "another"))
        file.write_text(json.dumps(event_of("OCR", ["Read this page.", "Then."])))
        monkeypatch.setattr("hookcache_ops.explain.deployed.OperatorClients", lambda: rig.clients)
        monkeypatch.setattr("hookcache_ops.explain.deployed.SystemClock", lambda: rig.clock)
        for name, value in rig.settings.items():
            monkeypatch.setenv(name, value)
        assert main(["explain", str(file), str(log)]) == 0
        shown = capsys.readouterr().out
        assert main(["explain", str(file)]) == 0
        alone = capsys.readouterr().out

        assert "Miss: the backend would be asked, reason `absent`" in shown
        assert "It differs in text block 2." in shown
        hint = "Give receipts beside the event, and the nearest earlier request is named."
        assert (True, False) == (hint in alone, hint in shown)

    @pytest.mark.parametrize(
        ("arguments", "remedy"),
        [
            (["nothing.json"], "no such file"),
            (["{log}", "--request", "x"], "is not in these receipts"),
            (["{log}", "--request", "x", "--request", "y", "--request", "z"], "one request, or for two"),
            (["-", "--request", "x"], "give it as a file"),
            (["{event}", "{event}", "{event}"], "give two events"),
            (["{log}", "{event}"], "give the event first"),
            (["{event}", "{event}", "--images", "nowhere"], "no such folder"),
            (["{event}"], "name no table"),
            (["{bare}", "{bare}"], "has no trace"),
            (["{log}", "--memory-bytes", "-5"], "are above 0"),
            (["{log}", "--memory-seconds", "nan"], "are above 0"),
            (["{event}", "{event}", "--function", "x"], "what one event is held against"),
            (["{log}", "--function", "x"], "what one event is held against"),
        ],
    )
    def test_bad_input_is_status_2_and_one_line_that_says_what_to_do(self, arguments, remedy, tmp_path, capsys, rig):
        """Never a traceback."""
        rig.call(ocr_event())
        rig.call(ocr_event())
        files = {
            "{event}": json.dumps(ocr_event()),
            "{log}": rig.stdout.text,
            "{bare}": json.dumps({**rig.last, "components": None}),
        }
        for name, text in files.items():
            (tmp_path / name.strip("{}")).write_text(text)
        status = main(["explain", *(str(tmp_path / each.strip("{}")) if each in files else each for each in arguments)])
        (line,) = capsys.readouterr().err.splitlines()

        assert 2 == status
        assert remedy in line

    def test_a_pipe_is_read_once(self, rig, tmp_path, capsys):
        """`<(zcat log.gz)` was said to hold no receipts, for the look at it had taken them; an event in one is had whole."""
        for text in ("a page", "another"):
            rig.call(event_of("OCR", [text]))
        other = tmp_path / "other.json"
        other.write_text(json.dumps(event_of("OCR", ["other"])))
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        for text, arguments, status in (
            (rig.stdout.text, [], 2),
            (json.dumps(event_of("OCR", ["one"])), [str(other)], 0),
        ):
            writer = threading.Thread(target=pipe.write_text, args=(text,), daemon=True)
            writer.start()
            assert status == main(["explain", str(pipe), *arguments])
            writer.join()
        assert "give it through standard input" in capsys.readouterr().err

    def test_an_empty_pipe_is_not_opened_again(self, tmp_path):
        """Whoever opens one that nobody writes to any more waits without end."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=("",), daemon=True)
        writer.start()
        with pytest.raises(BadInput, match="a log in a pipe"):
            given(str(pipe))
        writer.join()

    def test_payloads_that_hold_nothing_of_the_log_are_told(self, tmp_path, capsys):
        """Packed, or of another log: silence would pass for the texts having nothing to show."""
        (tmp_path / "beside").write_bytes(gzip.compress(b"{}"))
        assert {} == payloads([str(tmp_path / "beside")], ["1"])
        assert "no event of these requests in" in capsys.readouterr().err

    def test_a_log_without_receipts_is_status_1(self, tmp_path, capsys):
        """Nothing to explain is a finding, and the remedy is named."""
        (tmp_path / "log").write_text("START\nEND\n")

        assert main(["explain", str(tmp_path / "log")]) == 1
        assert "no receipts found; give the log of the wrapper function, or a longer period" in capsys.readouterr().err


class TestBounds:
    def test_only_recent_entries_are_kept(self):
        """Memory stays bounded whatever the length of the log; what was put last is always there."""
        recent = Recent(1_000)
        for number in range(10_000):
            recent.put(number, number)
            assert number == recent.get(number)

        assert 500 <= sum(recent.get(number) is not None for number in range(10_000)) <= 1_000
        assert recent.forgot

    def test_a_sample_is_bounded_and_fair(self):
        """Every part of the log has its share in it."""
        sample = Sample(100)
        for number in range(10_000):
            sample.add(number)

        assert 100 == len(sample.values)
        assert 25 < sum(value < 5_000 for value in sample.values) < 75

    @pytest.mark.parametrize("count", [10, 2_000, 100_000])
    def test_different_values_are_counted_within_some_percent(self, count):
        """Exact while few, an estimate beyond; whatever the order, and counted once each."""
        distinct = Distinct()
        for number in (*range(count), *range(count)):
            distinct.add(number * 0x1234567)

        assert count == pytest.approx(len(distinct), rel=0.0 if count <= 2_000 else 0.1)
