"""functions/ocr: real OCR of page images as a LambdaHook backend."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from aws_backends import ENVIRONMENT, Bucket, Clients, Left, StuckBucket, denied, event, image
from botocore.exceptions import EndpointConnectionError
from PIL import Image
from scripted_service import load_function

from hookcache_ops.host import raw_text, text_of
from hookcache_ops.pages import render

PROJECT = Path(__file__).resolve().parents[2]
app = load_function("ocr", **ENVIRONMENT)
errors, ocr_engines, ocr_reply = app.module_backend_errors, app.module_ocr_engines, app.module_ocr_reply
Page, Piece, Tesseract = ocr_engines.Page, ocr_engines.Piece, ocr_engines.Tesseract
NoEngineError, choose_engine = ocr_engines.NoEngineError, ocr_engines.choose_engine


class OneLine:
    """An engine that reads the same line from every image."""

    name = "one-line"

    def read(self, image: bytes) -> Page:
        if not image:
            raise ValueError("0 bytes")
        return Page(751, 100, (Piece("Account 12345", 97.123, 75, 20, 375, 40),))


def function(engine: Any, bucket: Bucket, **environment: str) -> Any:
    made = app.OcrFunction(environment, Clients("", bucket))
    made._engine = engine
    return made


@pytest.fixture(scope="module")
def real(ocr) -> Any:
    """The function with the engine of this machine, and one page of the sample letter in its bucket."""
    page = next(render(PROJECT / "documents" / "letter.pdf"))
    blank = io.BytesIO()
    Image.new("RGB", (951, 1231), "white").save(blank, "JPEG", quality=95)
    bucket = Bucket(letter=page.jpeg, blank=blank.getvalue())
    return function(choose_engine("auto", 1), bucket)


@pytest.fixture(scope="module")
def letter(real) -> Any:
    """What was read from the sample letter."""
    return real(event(image("letter")), Left())


class TestRealOcr:
    def test_what_is_printed_is_read(self, letter):
        """Names, dates and sums of the sample letter are in the text, in reading order."""
        text = text_of(letter).replace(" ", "")

        printed = ["QuillmereMutual", "20March2026", "HC/55-20917", "QM-771-30442", "3,860.00", "7,117.50", "Langstrom"]
        places = [text.find(part) for part in printed]
        assert -1 not in places
        assert sorted(places) == places
        assert letter["stopReason"] == "end_turn"
        assert letter["output"]["message"]["role"] == "assistant"

    def test_blocks_say_where_each_line_stands(self, letter):
        """One PAGE with its LINEs, each with text, confidence and a box inside the page."""
        sheet, *lines = raw_text(letter)["Blocks"]

        assert sheet["BlockType"] == "PAGE"
        assert [line["Id"] for line in lines] == sheet["Relationships"][0]["Ids"]
        assert {line["BlockType"] for line in lines} == {"LINE"}
        for line in lines:
            box = line["Geometry"]["BoundingBox"]
            assert line["Text"]
            assert 0 < line["Confidence"] <= 100
            assert 0 <= box["Left"] < box["Left"] + box["Width"] <= 1
            assert 0 <= box["Top"] < box["Top"] + box["Height"] <= 1

    def test_the_same_image_gives_the_same_answer(self, real, letter):
        """Byte for byte, so that a stored answer is as good as a new one."""
        assert json.dumps(letter) == json.dumps(real(event(image("letter")), Left()))

    def test_a_blank_page_is_a_page_without_lines(self, real):
        """Blank is not unreadable: the page counts, its text is empty."""
        answer = real(event(image("blank")), Left())
        assert text_of(answer) == ""
        assert [block["BlockType"] for block in raw_text(answer)["Blocks"]] == ["PAGE"]
        assert answer["usage"]["pages"] == 1


class TestAnswer:
    def test_tokens_follow_the_stated_rule(self):
        """Pixels / 750 plus characters / 4 in, characters / 4 out, each rounded up."""
        answer = function(OneLine(), Bucket(a=b"x"))(event("12345", image("a"), system=["678"]), Left())
        assert answer["usage"] == {"pages": 1, "inputTokens": 101 + 2, "outputTokens": 4, "totalTokens": 107}

    def test_every_image_is_a_page(self):
        """Pages keep their order, their blocks have ids of their own."""
        answer = function(OneLine(), Bucket(a=b"x", b=b"y"))(event(image("a"), image("b")), Left())
        assert answer["usage"]["pages"] == 2
        assert answer["textractBlocks"]["DocumentMetadata"] == {"Pages": 2}
        ids = [block["Id"] for block in answer["textractBlocks"]["Blocks"]]
        assert ids == ["ocr-0-0", "ocr-0-1", "ocr-1-0", "ocr-1-1"]

    def test_pieces_on_one_line_are_read_from_the_left(self):
        """A table row stays a row, though its cells are found in any order and are not quite level."""
        pieces = (
            Piece("9.50", 99, 500, 102, 560, 122),
            Piece("second", 99, 10, 140, 90, 160),
            Piece("Tea", 99, 10, 100, 60, 120),
        )
        answer = ocr_reply.reply(event(), [Page(600, 200, pieces)], "test")
        assert text_of(answer) == "Tea  9.50\nsecond"

    def test_boxes_are_shares_of_the_page_and_never_leave_it(self):
        page = Page(100, 50, (Piece("x", 90, -5, 10, 120, 60),))
        told = ocr_reply.reply(event(), [page], "an-engine-1.0")["textractBlocks"]
        sheet, line = told["Blocks"]

        assert sheet == {
            "BlockType": "PAGE",
            "Id": "ocr-0-0",
            "Geometry": {"BoundingBox": {"Left": 0.0, "Top": 0.0, "Width": 1.0, "Height": 1.0}},
            "Relationships": [{"Type": "CHILD", "Ids": ["ocr-0-1"]}],
        }
        assert line["Geometry"]["BoundingBox"] == {"Left": 0.0, "Top": 0.2, "Width": 1.0, "Height": 0.8}
        assert told["ModelId"] == "an-engine-1.0"


class TestUnreadable:
    """What cannot be read raises; an empty text as success would be kept as a blank page."""

    @pytest.mark.parametrize(
        ("trouble", "error", "told"),
        [
            (denied(), "NoImageError", "AccessDenied.*s3:GetObject"),
            (
                EndpointConnectionError(endpoint_url="http://s3"),
                "ServiceFailedError",
                "EndpointConnectionError.*network",
            ),
        ],
        ids=["denied", "out of reach"],
    )
    def test_a_failure_of_s3_is_told_by_what_may_help(self, trouble, error, told):
        """What passes has another name than what stays: no `negative_errors` may hold a page back for S3's bad minute."""
        with pytest.raises(getattr(errors, error), match=told):
            function(OneLine(), Bucket(a=trouble))(event(image("a")), Left())

    def test_s3_that_does_not_answer_ends_in_time(self):
        """F28: an error with its remedy, before Lambda ends the invocation with none."""
        stuck = StuckBucket()
        with pytest.raises(errors.OutOfTimeError, match="raise the function's timeout"):
            function(OneLine(), stuck)(event(image("a")), Left(2.1))
        stuck.let_go.set()

    @pytest.mark.parametrize(
        "other",
        [{"document": {"name": "annex"}}, {"image": "x"}, "x", None],
        ids=["document", "no image", "text", "null"],
    )
    def test_no_page_is_left_out_in_silence(self, other):
        """The page beside it was read, and its text went to the host as that of both."""
        request = event("Read.", image("a"))
        request["messages"][0]["content"].append(other)
        with pytest.raises(errors.BadRequestError):
            function(OneLine(), Bucket(a=b"x"))(request, Left())

    @pytest.mark.parametrize("request_", [None, {}, {"messages": [{"content": ["x"]}]}, event()], ids=str)
    def test_a_request_without_image_raises(self, request_):
        with pytest.raises((errors.BadRequestError, errors.NoImageError)):
            function(OneLine(), Bucket())(request_, Left())

    @pytest.mark.parametrize("data", [b"no image at all", b"\xff\xd8\xff"], ids=["text", "cut"])
    def test_bytes_that_are_no_image_raise(self, data, ocr):
        with pytest.raises(errors.NoImageError, match="cannot be decoded"):
            function(choose_engine("auto", 1), Bucket(a=data))(event(image("a")), Left())

    @pytest.mark.parametrize(
        "setting",
        [{"OCR_DELAY_SECONDS": "soon"}, {"OCR_DELAY_SECONDS": "901"}, {"OCR_THREADS": "4"}, {"OCR_ENGINE": "abbyy"}],
        ids=str,
    )
    def test_a_wrong_setting_stops_the_function_at_its_start(self, setting):
        """By name, and not once the first page was read."""
        (name,) = setting
        with pytest.raises(errors.SettingsError, match=name):
            function(OneLine(), Bucket(), **setting)

    def test_an_answer_waits_as_long_as_is_set(self, monkeypatch):
        """For trials with a slow backend; without the setting there is no wait."""
        waited = []
        monkeypatch.setattr(app.time, "sleep", waited.append)
        for told in ({}, {"OCR_DELAY_SECONDS": "2.5"}):
            function(OneLine(), Bucket(a=b"x"), **told)(event(image("a")), Left())
        assert waited == [0, 2.5]

    @pytest.mark.parametrize(
        ("told", "chosen"),
        [({}, ("auto", 1)), ({"OCR_ENGINE": "tesseract", "OCR_THREADS": "2"}, ("tesseract", 2))],
        ids=["default", "set"],
    )
    def test_the_engine_is_chosen_once_as_it_is_set(self, told, chosen, monkeypatch):
        seen = []
        monkeypatch.setattr(app, "choose_engine", lambda *wanted: seen.append(wanted) or OneLine())
        made = function(None, Bucket(a=b"x"), **told)
        assert [made(event(image("a")), Left())["usage"]["pages"] for _ in range(2)] == [1, 1]
        assert seen == [chosen]


TSV = "\t".join(
    (
        "level",
        "page_num",
        "block_num",
        "par_num",
        "line_num",
        "word_num",
        "left",
        "top",
        "width",
        "height",
        "conf",
        "text",
    )
)
WORDS = (
    (1, 1, 0, 0, 0, 0, 0, 0, 951, 1231, -1, ""),
    (5, 1, 1, 1, 1, 1, 90, 60, 80, 20, 96.5, "Account"),
    (5, 1, 1, 1, 1, 2, 180, 62, 60, 20, 91.5, '"12345'),
    (5, 1, 1, 1, 2, 1, 90, 90, 10, 20, 95, " "),
    (5, 1, 2, 1, 1, 1, 90, 120, 70, 20, 88, "Balance"),
)


def program(folder: Path, script: str) -> Path:
    """A stand-in for the tesseract program."""
    path = folder / "tesseract"
    path.write_text(f"#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'tesseract 5.3.0'; exit 0; fi\n{script}\n")
    path.chmod(0o755)
    return path


class TestTesseract:
    def test_words_are_joined_to_lines(self, tmp_path):
        """Tab-separated words become pieces with their outer box and mean confidence; blanks are no words."""
        table = "\n".join([TSV, *("\t".join(map(str, word)) for word in WORDS)])
        (tmp_path / "table").write_text(table)
        engine = Tesseract(
            str(program(tmp_path, f"echo $@ >{tmp_path}/asked; cat >{tmp_path}/got; cat {tmp_path}/table")), 1
        )
        page = engine.read(b"image")

        account = Piece('Account "12345', 94.0, 90, 60, 240, 82)
        assert page == Page(951, 1231, (account, Piece("Balance", 88.0, 90, 120, 160, 140)))
        assert engine.name == "tesseract-5.3.0"
        assert (tmp_path / "got").read_bytes() == b"image"
        assert (tmp_path / "asked").read_text() == "stdin stdout tsv\n"

    @pytest.mark.parametrize("script", ["exit 1", "true"], ids=["fails", "silent"])
    def test_what_it_cannot_read_is_no_image(self, tmp_path, script):
        with pytest.raises(ValueError, match=r"bytes|no page"):
            Tesseract(str(program(tmp_path, script)), 1).read(b"image")

    def test_its_threads_are_limited(self, tmp_path):
        """Unlimited, tesseract is slower on few cores."""
        engine = Tesseract(str(program(tmp_path, f"echo $OMP_THREAD_LIMIT >{tmp_path}/limit; exit 1")), 2)
        with pytest.raises(ValueError, match="bytes"):
            engine.read(b"image")
        assert (tmp_path / "limit").read_text() == "2\n"


class TestChoice:
    def test_tesseract_is_taken_where_rapidocr_is_missing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(ocr_engines.importlib.util, "find_spec", lambda name: None)
        program(tmp_path, "exit 1")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert choose_engine("auto", 1).name == "tesseract-5.3.0"

    def test_the_engine_that_is_named_is_taken_though_another_is_there(self, tmp_path, monkeypatch):
        monkeypatch.setattr(ocr_engines.importlib.util, "find_spec", lambda name: "found")
        monkeypatch.setattr(ocr_engines, "RapidOcr", lambda threads: OneLine())
        program(tmp_path, "exit 1")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        chosen = [choose_engine(wanted, 1).name for wanted in ("auto", "rapidocr", "tesseract")]
        assert chosen == ["one-line", "one-line", "tesseract-5.3.0"]

    @pytest.mark.parametrize("wanted", ["auto", "rapidocr", "tesseract"])
    def test_no_engine_is_an_error_with_the_remedy(self, monkeypatch, tmp_path, wanted):
        monkeypatch.setattr(ocr_engines.importlib.util, "find_spec", lambda name: None)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(NoEngineError, match="tesseract-ocr package"):
            choose_engine(wanted, 1)
