"""The demo: three passes over the same pages, counted from receipts and from the backend's own log."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image, ImageDraw, ImageFont

from hookcache_ops import demo
from hookcache_ops.backends import NAMES, named
from hookcache_ops.cli import main
from hookcache_ops.demo_screen import Screen
from hookcache_ops.demo_stage import LocalStage
from hookcache_ops.output import PlainStream
from hookcache_ops.pages import PageImage

PROJECT = Path(__file__).resolve().parents[2]
LETTER = PROJECT / "documents" / "letter.pdf"
PAGES = tuple(PageImage("test.pdf", number, 10, 10, b"page %d" % number) for number in (1, 2, 3))
USAGE = {"pages": 1, "inputTokens": 10, "outputTokens": 5, "totalTokens": 15}


def answer_to(image: bytes) -> dict[str, Any]:
    text = image.decode()
    blocks = [{"BlockType": "PAGE"}, {"BlockType": "LINE", "Text": text}]
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "textractBlocks": {"Blocks": blocks},
        "usage": dict(USAGE),
    }


class FakeStage:
    """A wrapper in this process with both tiers; `alter(calls, answer, hit)` may change what the host gets."""

    wrapper = "GENAIIDP-cache-ocr"
    bucket = "working"

    def __init__(self, *, keeps: bool = True, alter: Any = None) -> None:
        self.s3 = self
        self._keeps, self._alter = keeps, alter
        self._objects: dict[str, bytes] = {}
        self._memory: dict[bytes, Any] = {}
        self._table: dict[bytes, Any] = {}
        self._lines: list[str] = ["START RequestId: 0", "{not a receipt"]
        self._backend_calls = self._requests = 0

    def put_object(self, **given: Any) -> None:
        self._objects[f"s3://{given['Bucket']}/{given['Key']}"] = given["Body"]

    def invoke(self, **given: Any) -> dict[str, Any]:
        content = json.loads(given["Payload"])["messages"][0]["content"]
        image = self._objects[content[1]["image"]["source"]["s3Location"]["uri"]]
        self._requests += 1
        outcome, answer = self._look_up(image)
        answer = json.loads(json.dumps(answer))
        hit = outcome != "Misses"
        if hit:
            answer["usage"] = dict.fromkeys(answer["usage"], 0)
        if self._alter:
            answer = self._alter(self._requests, answer, hit)
        self._write(outcome, hit=hit)
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(answer).encode())}

    def _look_up(self, image: bytes) -> tuple[str, Any]:
        if image in self._memory:
            return "MemoryHits", self._memory[image]
        if image in self._table:
            self._memory[image] = self._table[image]
            return "TableHits", self._table[image]
        self._backend_calls += 1
        answer = answer_to(image)
        if self._keeps:
            self._memory[image] = self._table[image] = answer
        return "Misses", answer

    def _write(self, outcome: str, *, hit: bool) -> None:
        receipt = {
            "_aws": {"Timestamp": 1_790_000_000_000, "CloudWatchMetrics": []},
            "MeteringKey": "OCR/lambda_hook/GENAIIDP-cache-ocr",
            "Requests": [1.0],
            outcome: [1.0],
            "schema": 1,
            "outcome": "any",
            "request_id": str(self._requests),
            "units_spent": {} if hit else USAGE,
            "units_saved": USAGE if hit else {},
        }
        self._lines += ["START RequestId: x", json.dumps(receipt, separators=(",", ":")), "REPORT RequestId: x"]

    def forget_memory(self) -> None:
        self._memory.clear()

    def backend_calls(self) -> int:
        return self._backend_calls

    def wrapper_lines(self) -> tuple[str, ...]:
        return tuple(self._lines)


def play(stage: FakeStage, folder: Path, pages: tuple[PageImage, ...] = PAGES) -> tuple[int, dict[str, Any]]:
    status = demo.play(stage, pages, folder, Screen(quiet=True), as_json=True)
    return status, json.loads((folder / "summary.json").read_text())


def counts(summary: dict[str, Any]) -> list[tuple[Any, ...]]:
    members = ("requests", "backend_calls", "memory_hits", "table_hits", "answers_equal")
    return [tuple(result[member] for member in members) for result in summary["passes"]]


class TestPasses:
    def test_miss_then_memory_then_table(self, tmp_path):
        """Pass 1 is read by the backend, pass 2 by memory, pass 3 by the table; the summary has the stated members."""
        status, summary = play(FakeStage(), tmp_path)
        assert status == 0
        assert counts(summary) == [(3, 3, 0, 0, True), (3, 0, 3, 0, True), (3, 0, 0, 3, True)]
        assert list(summary) == ["pages", "passes", "receipts", "wrapper"]
        assert summary["pages"] == 3
        assert list(summary["passes"][0]) == [
            "requests",
            "backend_calls",
            "memory_hits",
            "table_hits",
            "p50_ms",
            "answers_equal",
        ]

    def test_receipts_are_written_as_they_came_and_nothing_else(self, tmp_path):
        stage = FakeStage()
        _, summary = play(stage, tmp_path)
        lines = Path(summary["receipts"]).read_text().splitlines()
        assert lines == [line for line in stage.wrapper_lines() if line.startswith('{"_aws"')]
        assert len(lines) == 9

    def test_spent_and_saved_units_come_from_receipts(self, tmp_path, capsys):
        play(FakeStage(), tmp_path)
        details = json.loads(capsys.readouterr().out)["details"]
        three = {unit: 3 * amount for unit, amount in USAGE.items()}
        assert [result["spent"] for result in details] == [three, {}, {}]
        assert [result["saved"] for result in details] == [{}, three, three]

    def test_equal_pages_are_hits_in_pass_1(self, tmp_path):
        status, summary = play(FakeStage(), tmp_path, (PAGES[0], PAGES[0]))
        assert status == 0
        assert counts(summary)[0] == (2, 1, 1, 0, True)


class TestFindings:
    def test_a_backend_call_in_a_later_pass_is_status_1(self, tmp_path, capsys):
        """Negative control: a wrapper that keeps nothing is found out, from the backend's own count."""
        status, summary = play(FakeStage(keeps=False), tmp_path)
        assert status == 1
        assert counts(summary)[1] == (3, 3, 0, 0, True)
        assert "6 repeated pages reached the backend" in capsys.readouterr().err

    @pytest.mark.parametrize("change", ["text", "member", "order", "unit"])
    def test_an_answer_that_differs_is_status_1(self, tmp_path, capsys, change):
        """Negative control: text, an added member, member order and an added unit of usage all count."""

        def alter(number: int, answer: dict[str, Any], hit: bool) -> dict[str, Any]:
            if number != 5:
                return answer
            match change:
                case "text":
                    answer["output"]["message"]["content"][0]["text"] += "."
                case "member":
                    answer["cached"] = True
                case "order":
                    return dict(reversed(answer.items()))
                case "unit":
                    answer["usage"]["saved"] = 1
            return answer

        status, summary = play(FakeStage(alter=alter), tmp_path)
        assert status == 1
        assert [result["answers_equal"] for result in summary["passes"]] == [True, False, True]
        assert "an answer of pass 2 differs" in capsys.readouterr().err

    def test_numbers_in_usage_may_differ(self):
        """P32: a hit returns zeros under the same names."""
        first, hit = answer_to(b"page"), answer_to(b"page")
        hit["usage"] = dict.fromkeys(USAGE, 0)
        assert demo.same_answers([first], [hit])

    def test_a_page_without_text_is_read_only_if_its_blocks_say_blank(self):
        blank = answer_to(b"")
        assert not demo.was_read(blank)
        blank["textractBlocks"]["Blocks"] = [{"BlockType": "PAGE"}]
        assert demo.was_read(blank)
        del blank["textractBlocks"]
        assert not demo.was_read(blank)


class TestInterruption:
    def test_ctrl_c_keeps_what_is_done_so_far(self, tmp_path, capsys):
        """The passes until then are in summary and receipts; status 1."""

        def alter(number: int, answer: dict[str, Any], hit: bool) -> dict[str, Any]:
            if number == 5:
                raise KeyboardInterrupt
            return answer

        status, summary = play(FakeStage(alter=alter), tmp_path)
        assert status == 1
        assert [result[0] for result in counts(summary)] == [3, 1]
        assert "interrupted" in capsys.readouterr().err
        assert len((tmp_path / "receipts.jsonl").read_text().splitlines()) == 4

    def test_a_failed_call_is_told_with_the_log_to_read(self, tmp_path, capsys):
        """No traceback; the function's own message and where its log is. The host's sleeps of minutes are cut short."""
        stage = FakeStage()
        failed = {"errorMessage": "No OCR engine is installed"}
        stage.invoke = lambda **given: {  # type: ignore[method-assign]
            "Payload": io.BytesIO(json.dumps(failed).encode()),
            "FunctionError": "Handled",
        }
        status, summary = play(stage, tmp_path)
        assert status == 1
        assert counts(summary) == [(0, 0, 0, 0, False)]
        told = capsys.readouterr().err
        assert "No OCR engine is installed" in told
        assert "GENAIIDP-cache-ocr.log" in told


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["no-such.pdf"], "no such file"),
            (["--document", "no-such.pdf"], "no such file"),
            (["a.pdf", "--document", "b.pdf"], "give one"),
            (["--backend", "abbyy"], "ocr, bedrock, sagemaker, triton, chandra, openai"),
            (["--backend", ""], "name one of"),
        ],
    )
    def test_bad_input_is_status_2_and_one_line(self, tmp_path, capsys, arguments, told):
        assert main(["demo", "--output", str(tmp_path), *arguments]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("hookcache demo: ")
        assert told in line

    def test_a_folder_that_cannot_be_written_is_status_2(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(demo, "check_stage", lambda backend: None)  # also where no OCR is installed
        (tmp_path / "file").write_text("")
        assert main(["demo", str(LETTER), "--output", str(tmp_path / "file" / "x")]) == 2
        assert "--output" in capsys.readouterr().err

    def test_without_ocr_nothing_is_started_and_the_remedy_is_told(self, tmp_path, capsys, monkeypatch):
        from hookcache_ops import demo_stage

        find_spec = demo_stage.importlib.util.find_spec
        monkeypatch.setattr(
            demo_stage.importlib.util, "find_spec", lambda name: None if "rapidocr" in name else find_spec(name)
        )
        monkeypatch.setattr(demo_stage.shutil, "which", lambda name: None)
        assert main(["demo", str(LETTER), "--output", str(tmp_path)]) == 2
        assert "tesseract-ocr" in capsys.readouterr().err

    def test_two_real_pages_on_the_real_stage(self, tmp_path, capsys, ocr):
        """The whole path: wrapper and OCR in AWS's runtime client, each page read once, then answered from both tiers."""
        assert main(["demo", str(LETTER), "--output", str(tmp_path), "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert counts(shown) == [(2, 2, 0, 0, True), (2, 0, 2, 0, True), (2, 0, 0, 2, True)]
        assert shown["details"][2]["saved"]["pages"] == 2
        assert json.loads((tmp_path / "summary.json").read_text())["passes"] == shown["passes"]


def slip() -> PageImage:
    """A strip of paper with one line, read in a fraction of a page's time."""
    picture = Image.new("RGB", (420, 64), "white")
    ImageDraw.Draw(picture).text((12, 12), "Account 12345", fill="black", font=ImageFont.load_default(36))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95)
    return PageImage("slip.pdf", 1, 420, 64, file.getvalue())


class TestBackends:
    def test_each_is_found_by_its_name_and_is_whole(self):
        """Its function is there, packaged as it stands, under the name that the host may invoke."""
        for name in NAMES:
            backend = named(name)
            assert (backend.name, backend.function) == (name, f"GENAIIDP-{name}")
            assert (backend.path(PROJECT) / "app.py").is_file()

    def test_each_has_a_price_for_every_unit_that_it_reports(self):
        """A unit without a price would be unpriced in the receipts, and the savings too small."""
        rows = yaml.safe_load((PROJECT / "documents" / "demo-prices.yaml").read_text())["pricing"]
        priced = {row["name"]: {unit["name"] for unit in row["units"]} for row in rows}
        missing = {name: set(named(name).units) - priced[f"lambda_hook/{named(name).function}"] for name in NAMES}
        assert missing == {name: set() for name in NAMES}

    def test_a_missing_package_is_told_with_the_remedy(self, tmp_path, capsys, monkeypatch):
        from hookcache_ops import demo_stage

        def named_without(name: str) -> None:
            raise ModuleNotFoundError(name="tritonclient")

        monkeypatch.setattr(demo_stage, "named", named_without)
        assert main(["demo", str(LETTER), "--backend", "triton", "--output", str(tmp_path)]) == 2
        assert "tritonclient not installed: `make demo`" in capsys.readouterr().err

    def test_a_model_server_behind_the_wrapper_is_asked_once_per_page(self, tmp_path, capsys, ocr):
        """Issue D: the function in a Lambda process, its key from Secrets Manager, a real server that reads the page."""
        with LocalStage(tmp_path, named("openai")) as stage:
            status = demo.play(stage, [slip()], tmp_path, Screen(quiet=True), as_json=True)
        shown = json.loads(capsys.readouterr().out)
        assert (status, shown["trouble"], shown["wrapper"]) == (0, "", "GENAIIDP-cache-openai")
        assert counts(shown) == [(1, 1, 0, 0, True), (1, 0, 1, 0, True), (1, 0, 0, 1, True)]
        assert shown["details"][2]["saved"] == shown["details"][0]["spent"]
        assert shown["details"][0]["spent"]["outputTokens"] > 0

    @pytest.mark.prove
    @pytest.mark.timeout(600)
    @pytest.mark.parametrize("name", NAMES)
    def test_every_backend_reads_two_pages_once(self, tmp_path, capsys, ocr, name):
        """Issue D, shown by 1: three passes over real pages with 0 backend calls in the second and the third."""
        assert main(["demo", str(LETTER), "--backend", name, "--output", str(tmp_path), "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert counts(shown) == [(2, 2, 0, 0, True), (2, 0, 2, 0, True), (2, 0, 0, 2, True)]
        assert shown["details"][1]["saved"] == shown["details"][0]["spent"]
        last = (tmp_path / "receipts.jsonl").read_text().splitlines()[-1]
        assert "unpriced_units" not in last or json.loads(last)["unpriced_units"] == {}


def test_the_screen_draws_with_its_own_sequences_only(monkeypatch):
    """T11: bars and bold letters reach the terminal through the streams that spell everybody else's sequences out."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out, err = io.StringIO(), io.StringIO()
    out.isatty = err.isatty = lambda: True
    with contextlib.redirect_stdout(PlainStream(out)), contextlib.redirect_stderr(PlainStream(err)):
        screen = Screen()
        screen.result.print("[bold]table")
        screen.say("page \x1b[2J")
        assert ["a"] == list(screen.walk("Pass", ["a"]))

    assert "\x1b[1mtable" in out.getvalue()
    assert "page \\u001b[2J" in err.getvalue()
    assert "\x1b[" in err.getvalue()
