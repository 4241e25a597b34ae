"""functions/ocr: real OCR of page images as a LambdaHook backend."""

import importlib.util
import io
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from PIL import Image

from hookcache_ops.host import raw_text, text_of
from hookcache_ops.pages import render

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "functions" / "ocr"
sys.path.append(str(FOLDER))

import ocr_engines  # noqa: E402 - found in the function's folder only
import ocr_reply  # noqa: E402
from ocr_engines import NoEngineError, Page, Piece, Tesseract, choose_engine  # noqa: E402

sys.path.remove(str(FOLDER))  # every function has an `app`: nobody else may find this one


def load_app() -> ModuleType:
    """The function's module, under a name of its own."""
    spec = importlib.util.spec_from_file_location("ocr_app", FOLDER / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


app = load_app()


class Bucket:
    """S3 with some objects; errors among them are raised."""

    def __init__(self, **objects: Any) -> None:
        self.objects = objects
        self.asked: list[dict[str, Any]] = []

    def get_object(self, **given: Any) -> dict[str, Any]:
        self.asked.append(given)
        found = self.objects[given["Key"]]
        if isinstance(found, Exception):
            raise found
        return {"Body": io.BytesIO(found)}


class OneLine:
    """An engine that reads the same line from every image."""

    name = "one-line"

    def read(self, image: bytes) -> Page:
        if not image:
            raise ValueError("0 bytes")
        return Page(750, 100, (Piece("Account 12345", 97.123, 75, 20, 375, 40),))


def function(engine: Any, bucket: Bucket, **environment: str) -> Any:
    made = app.OcrFunction(environment)
    made._engine, made._s3 = engine, bucket
    return made


def event(*keys: str, prompt: str = "Read all text.", system: str = "You read.", **location: str) -> dict[str, Any]:
    images = [
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": f"s3://working/{key}", **location}}}}
        for key in keys
    ]
    return {
        "modelId": "LambdaHook",
        "messages": [{"role": "user", "content": [{"text": prompt}, *images]}],
        "system": [{"text": system}],
        "inferenceConfig": {"temperature": 0.0},
        "context": "OCR",
    }


def denied() -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")


@pytest.fixture(scope="module")
def real(ocr) -> Any:
    """The function with the engine of this machine, and one page of the sample letter in its bucket."""
    page = next(render(PROJECT / "documents" / "letter.pdf"))
    blank = io.BytesIO()
    Image.new("RGB", (951, 1231), "white").save(blank, "JPEG", quality=95)
    bucket = Bucket(letter=page.jpeg, blank=blank.getvalue())
    return function(choose_engine("", 1), bucket)


@pytest.fixture(scope="module")
def letter(real) -> Any:
    """What was read from the sample letter."""
    return real(event("letter"), None)


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
        assert json.dumps(letter) == json.dumps(real(event("letter"), None))

    def test_a_blank_page_is_a_page_without_lines(self, real):
        """Blank is not unreadable: the page counts, its text is empty."""
        answer = real(event("blank"), None)
        assert text_of(answer) == ""
        assert [block["BlockType"] for block in raw_text(answer)["Blocks"]] == ["PAGE"]
        assert answer["usage"]["pages"] == 1


class TestAnswer:
    def test_tokens_follow_the_stated_rule(self):
        """Pixels / 750 plus characters / 4 in, characters / 4 out, each rounded up."""
        answer = function(OneLine(), Bucket(a=b"x"))(event("a", prompt="12345", system="678"), None)
        assert answer["usage"] == {"pages": 1, "inputTokens": 100 + 2, "outputTokens": 4, "totalTokens": 106}

    def test_every_image_is_a_page(self):
        """Pages keep their order, their blocks have ids of their own."""
        answer = function(OneLine(), Bucket(a=b"x", b=b"y"))(event("a", "b"), None)
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
        answer = ocr_reply.reply(event("a"), [Page(600, 200, pieces)], "test")
        assert text_of(answer) == "Tea  9.50\nsecond"

    def test_boxes_are_shares_of_the_page_and_never_leave_it(self):
        page = Page(100, 50, (Piece("x", 90, -5, 10, 120, 30),))
        block = ocr_reply.reply(event("a"), [page], "test")["textractBlocks"]["Blocks"][1]
        assert block["Geometry"]["BoundingBox"] == {"Left": 0.0, "Top": 0.2, "Width": 1.0, "Height": 0.4}

    def test_a_bucket_owner_in_the_event_is_demanded_of_s3(self):
        bucket = Bucket(a=b"x")
        function(OneLine(), bucket)(event("a", bucketOwner="123456789012"), None)
        assert bucket.asked == [{"Bucket": "working", "Key": "a", "ExpectedBucketOwner": "123456789012"}]


class TestUnreadable:
    """What cannot be read raises; an empty text as success would be kept as a blank page."""

    @pytest.mark.parametrize(
        ("trouble", "told"),
        [(denied(), "AccessDenied"), (EndpointConnectionError(endpoint_url="http://s3"), "EndpointConnectionError")],
    )
    def test_a_failure_of_s3_raises_with_the_rights_to_give(self, trouble, told):
        """The message names the right that is missing and no bucket, key or URI."""
        with pytest.raises(app.UnreadableImageError, match=told) as error:
            function(OneLine(), Bucket(secret_name=trouble))(event("secret_name"), None)
        assert "s3:GetObject" in str(error.value)
        assert "secret_name" not in str(error.value)

    @pytest.mark.parametrize("source", [{"bytes": "b'\\xff'"}, {}, None, {"s3Location": {"uri": "https://x/y"}}])
    def test_an_image_without_its_place_in_s3_raises(self, source):
        request = event("a")
        request["messages"][0]["content"][1]["image"]["source"] = source
        with pytest.raises(app.UnreadableImageError, match="working bucket"):
            function(OneLine(), Bucket(a=b"x"))(request, None)

    @pytest.mark.parametrize("name", ["page#2", "page?2", "page%20"])
    def test_the_object_that_was_named_is_read_and_no_other(self, name):
        """P4, B13: a wrapper digests the object of this very key; `#` and `?` are letters of it, and no parts of a URL."""
        answer = function(OneLine(), Bucket(**{name: b"named", "page": b""}))(event(name), None)

        assert answer["usage"]["pages"] == 1

    @pytest.mark.parametrize(
        "request_",
        [{}, {"messages": []}, event(), None, {"messages": ["x"]}, {"messages": 1}, {"messages": [{"content": ["x"]}]}],
        ids=["empty", "no message", "no image", "null", "text message", "number", "text block"],
    )
    def test_a_request_without_image_raises(self, request_):
        with pytest.raises(app.UnreadableImageError, match="DOCUMENT_IMAGE"):
            function(OneLine(), Bucket())(request_, None)

    @pytest.mark.parametrize("image", [b"", b"no image at all"], ids=["empty", "text"])
    def test_bytes_that_are_no_image_raise(self, image, ocr):
        with pytest.raises(app.UnreadableImageError, match="cannot be decoded"):
            function(choose_engine("", 1), Bucket(a=image))(event("a"), None)

    @pytest.mark.parametrize(
        "setting", [{"OCR_DELAY_SECONDS": "soon"}, {"OCR_DELAY_SECONDS": "901"}, {"OCR_THREADS": "4"}], ids=str
    )
    def test_a_wrong_setting_stops_the_function_at_its_start(self, setting):
        """By name, and not once the first page was read."""
        (name,) = setting
        with pytest.raises(ValueError, match=name):
            function(OneLine(), Bucket(), **setting)

    @pytest.mark.parametrize(
        ("told", "threads"),
        [({}, 1), ({"OCR_THREADS": "", "OCR_DELAY_SECONDS": ""}, 1), ({"OCR_THREADS": "2"}, 2)],
        ids=["default", "empty", "two"],
    )
    def test_the_engine_gets_the_threads_that_are_set(self, told, threads, monkeypatch):
        chosen = []
        monkeypatch.setattr(app, "choose_engine", lambda wanted, count: chosen.append((wanted, count)) or OneLine())
        made = function(None, Bucket(a=b"x"), OCR_ENGINE="tesseract", **told)
        assert made(event("a"), None)["usage"]["pages"] == 1
        assert chosen == [("tesseract", threads)]


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
        engine = Tesseract(str(program(tmp_path, f"cat >{tmp_path}/got; cat {tmp_path}/table")), 1)
        page = engine.read(b"image")

        account = Piece('Account "12345', 94.0, 90, 60, 240, 82)
        assert page == Page(951, 1231, (account, Piece("Balance", 88.0, 90, 120, 160, 140)))
        assert engine.name == "tesseract-5.3.0"
        assert (tmp_path / "got").read_bytes() == b"image"

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
        assert choose_engine("", 1).name == "tesseract-5.3.0"

    @pytest.mark.parametrize("wanted", ["", "rapidocr", "tesseract"])
    def test_no_engine_is_an_error_with_the_remedy(self, monkeypatch, tmp_path, wanted):
        monkeypatch.setattr(ocr_engines.importlib.util, "find_spec", lambda name: None)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(NoEngineError, match="tesseract-ocr package"):
            choose_engine(wanted, 1)

    def test_an_unknown_engine_is_told_which_there_are(self):
        with pytest.raises(NoEngineError, match="OCR_ENGINE must be rapidocr or tesseract"):
            choose_engine("abbyy", 1)
