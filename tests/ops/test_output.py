"""Files that commands write are whole or not there; what is no file is written into and left in its place."""

import contextlib
import errno
import io
import json
import os
import sys
import termios
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from receipt_samples import receipt

from hookcache_ops import doctor, erase
from hookcache_ops.cli import main
from hookcache_ops.doctor.finding import Finding, Severity
from hookcache_ops.ledger.forms import plain_record, records_in
from hookcache_ops.ledger.period import SourceError
from hookcache_ops.local.log import FunctionLog
from hookcache_ops.output import PlainStream, block, living_line, one_line, plain, terminal_width, whole_file
from hookcache_ops.reach import refused


def test_an_earlier_file_stays_until_the_new_one_is_whole(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    with whole_file(page) as file:
        file.write("new")
        file.flush()
        assert page.read_text() == "old"
    assert page.read_text() == "new"
    assert [page] == list(tmp_path.iterdir())


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, ValueError])
def test_what_is_cut_short_leaves_nothing_behind(tmp_path, trouble):
    page = tmp_path / "page.html"
    page.write_text("old")
    with pytest.raises(trouble), whole_file(page):
        raise trouble
    assert page.read_text() == "old"
    assert [page] == list(tmp_path.iterdir())


def test_a_full_disk_is_told_and_leaves_nothing_behind(tmp_path):
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with pytest.raises(SourceError, match=r"page.html: .*; make room there"), whole_file(tmp_path / "page.html"):
            raise OSError(number, os.strerror(number))
    assert [] == list(tmp_path.iterdir())


def test_a_pipe_is_written_into_and_not_replaced(tmp_path):
    """As with `-o /dev/null` or `-o >(less)`: a file in its place would be the end of it, for root at least."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    with whole_file(pipe) as file:
        file.write("page")
    reader.join(timeout=10)
    assert got == ["page"]
    assert pipe.is_fifo()


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "page.html")
    with whole_file(tmp_path / "link") as file:
        file.write("page")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "page.html").read_text() == "page"


@pytest.mark.parametrize(("place", "told"), [(".", "a folder; name the file in it"), ("no/page", "choose a folder")])
def test_a_place_that_cannot_be_written_is_told(tmp_path, place, told):
    with pytest.raises(SourceError, match=told), whole_file(tmp_path / Path(place)):
        pass
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("earlier", "umask", "mode"), [(None, 0o077, 0o600), (None, 0o022, 0o644), (0o640, 0o022, 0o640)]
)
def test_nobody_may_read_it_who_could_not_before(tmp_path, earlier, umask, mode):
    """P36: a review file may quote answers; its reader is chosen by the umask, or by the file that it replaces."""
    page = tmp_path / "page.html"
    if earlier is not None:
        page.write_text("old")
        page.chmod(earlier)
    before = os.umask(umask)
    try:
        with whole_file(page) as file:
            file.write("new")
    finally:
        os.umask(before)
    assert oct(page.stat().st_mode & 0o777) == oct(mode)


def test_half_a_character_is_written_as_json_escapes_it(tmp_path):
    """B15: answers may hold one, and a review file quotes them."""
    with whole_file(tmp_path / "page") as file:
        file.write('"cut \ud83d"')
    assert json.loads((tmp_path / "page").read_text(encoding="utf-8")) == "cut \ud83d"


OBEYED = "\x1b[2J\x9b31m\x07\x08\r\x7f\u202e\u2066"
SPELT = "\\u001b[2J\\u009b31m\\u0007\\u0008\\u000d\\u007f\\u202e\\u2066"


def test_what_a_terminal_would_obey_is_spelt_out(tmp_path):
    """T11, P36: a line end, a tab and every letter stay; JSON says the same as before, and of a file the same holds."""
    assert plain(f"a\tb\nü–█ {OBEYED}") == f"a\tb\nü–█ {SPELT}"
    assert json.loads(plain(json.dumps(OBEYED, ensure_ascii=False))) == OBEYED
    with whole_file(tmp_path / "page") as file:
        file.write(OBEYED)
        file.writelines([OBEYED])
    assert (tmp_path / "page").read_text() == 2 * SPELT


ENDINGS = ["\n", "\r\n", "\v", "\x1c", "\x85", "\u2028", "\u2029"]
FORGED = "FORGED"


def forged(text):
    """The lines that a name began, for whoever splits at any line end that Unicode has."""
    return [line for line in text.splitlines() if line.strip().startswith(FORGED)]


def log_of(ending, where, request_id):
    """A miss or a checked hit each of whose names has a line end in it."""
    name = f"x{ending}{FORGED}"
    facts = {"context": name, "function": name, "request_id": f"{request_id}{name}", "reason": name, "refusal": name}
    facts |= {"units_spent": {name: 5}, "units_saved": {name: 5}, "unpriced_units": {name: 5}, "error_type": name}
    facts["check"] = {"result": "false_hit", "paths": [name], "values": {"a": [name, "y"]}}
    facts["components"] = {name: "0123"}
    return where(json.dumps(receipt("hit_memory", **facts)))


@pytest.mark.parametrize("ending", ENDINGS, ids=ascii)
@pytest.mark.parametrize(
    "where", [str, lambda line: json.dumps({"message": line})], ids=["a function's log", "an export of it"]
)
def test_a_name_in_a_log_forges_no_line(tmp_path, capsys, ending, where):
    """T11: a log may be anybody's; whoever reads a report of it reads the lines of the report alone."""
    log, page = tmp_path / "log", tmp_path / "review"
    log.write_text("".join(f"{log_of(ending, where, number)}\n" for number in range(3)))
    by = [["report", "--by", each] for each in ("step", "function", "outcome")]
    for command in [*by, ["report", "--format", "csv"], ["explain"], ["review", "-o", str(page)], ["simulate"]]:
        main([command[0], str(log), *command[1:]])
        shown = capsys.readouterr()
        assert [] == forged(shown.out + shown.err), command

    spelt = "".join(f"\\u{ord(each):04x}" for each in ending)
    lines = [json.loads(line) for line in page.read_text().split("\n")[:-1]]
    assert [f"x{spelt}{FORGED}"] * 3 == [line["context"] for line in lines]
    assert {"a": [f"x{ending}{FORGED}", "y"]} == lines[0]["values"]  # what the answers said, as JSON, stays what it was


@pytest.mark.parametrize("odd", ["\x7f", "\x85", "\u001b", "\n", "plain"], ids=ascii)
def test_a_name_is_the_same_however_its_line_came(odd):
    """P58, T11: as a function's own log has it, or within another text."""
    line = json.dumps(receipt(function=f"a{odd}b"), separators=(",", ":"), ensure_ascii=False)
    (other,) = records_in(f"INFO {line}")

    assert plain_record(line.encode())["function"] == other["function"] == f"a{one_line(odd)}b"


@pytest.mark.parametrize("ending", ENDINGS, ids=ascii)
def test_nor_does_one_in_an_event_a_price_table_or_a_file_s_name(tmp_path, capsys, ending):
    """T11: what commands say of what they were given, and of what is wrong with it."""
    name = f"x{ending}{FORGED}"
    for number in range(2):
        event = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}], name: number}
        (tmp_path / str(number)).write_text(json.dumps(event))
    row = {"name": name, "units": [{"name": name, "price": 1}]}
    (tmp_path / "prices").write_text(json.dumps({"pricing": [row]}))
    for command in (
        ["explain", str(tmp_path / "0"), str(tmp_path / "1")],
        ["prices", "--check", str(tmp_path / "prices")],
        ["prices", "--prices", str(tmp_path / "prices")],
        ["report", str(tmp_path / name)],
    ):
        main(command)
        shown = capsys.readouterr()
        assert FORGED in shown.out + shown.err, command
        assert [] == forged(shown.out + shown.err), command


@pytest.mark.parametrize("ending", ENDINGS, ids=ascii)
def test_nor_does_one_that_aws_says(ending, capsys):
    """T11: a variable of the function that is examined, a page without anything kept, an erase function's error."""
    name = f"x{ending}{FORGED}"
    found = Finding(name, Severity.NOTE, name, name)
    assert [] == forged(doctor._text(doctor.Examination(name, {name: name}, (found,), (name,))))
    assert [] == forged(erase._names([name]))
    refused({"error": name}, "erase")
    assert [] == forged(capsys.readouterr().err)


def test_the_living_line_obeys_its_own_sequences_only(monkeypatch, capsys):
    """T11: it names the source that is read, and the scenario that is replayed."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with contextlib.redirect_stderr(PlainStream(sys.stderr)):
        living_line("log\x1b]0;title\x07")
        print("\x1b", end="", file=sys.stderr)
    assert capsys.readouterr().err == "\r\033[Klog\\u001b]0;title\\u0007\\u001b"


@pytest.mark.parametrize(("encoding", "drawn"), [("utf-8", "█"), ("ascii", "#"), ("cp1252", "#"), ("none-such", "#")])
def test_bars_are_drawn_with_what_the_stream_has(encoding, drawn):
    """B15: of a block that it lacks it showed `\\u2588`, forty times a line."""
    stream = io.TextIOWrapper(io.BytesIO())
    assert block(SimpleNamespace(encoding=encoding)) == drawn
    assert block(stream) in "█#"


@pytest.mark.parametrize(("told", "width"), [((60, 24), 60), ((0, 0), 80), ((9, 24), 40)])
def test_a_terminal_has_a_width_whatever_it_says_of_itself(monkeypatch, told, width):
    """One without a size, as under `docker exec -t`, says 0, at which nothing would be printed at all."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size(told))
    assert terminal_width() == width


def test_a_file_or_a_pipe_has_no_width(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert terminal_width() is None


def test_the_living_line_does_not_wrap(monkeypatch, capsys):
    """What wraps onto another line is not taken away with the first."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    living_line("x" * 100)
    living_line()
    assert capsys.readouterr().err == f"\r\033[K{'x' * 59}\r\033[K"


def test_the_living_line_is_cut_to_its_own_terminal(monkeypatch):
    """Where the output goes into a file, the width of that file's side was taken: 80, and the line wrapped at 60."""
    main, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 60))
    monkeypatch.delenv("COLUMNS", raising=False)
    with os.fdopen(terminal, "w") as stream, Path(os.devnull).open("w") as file:
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setattr("sys.stdout", file)
        living_line("x" * 100)
        monkeypatch.undo()
        shown = os.read(main, 1_000)
    os.close(main)
    assert shown == b"\r\033[K" + b"x" * 59


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_function_of_the_local_aws_goes_on_without_room_for_its_log():
    """Each line of it was a traceback before the command's own word."""
    log = FunctionLog(Path("/dev/full"))
    for line in ("one", "two"):
        log.write(line)
    log.close()
    assert ("one", "two") == log.lines()
