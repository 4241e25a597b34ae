"""The command line: one command per module, imported when it is called; exit status 0, 1, 2."""

import argparse
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import boto3
import pytest

from hookcache.errors import ConfigurationError
from hookcache_ops.bad_input import BadInput
from hookcache_ops.cli import COMMANDS, ENDINGS, Command, main
from hookcache_ops.ledger.period import SourceError


@pytest.fixture
def greet(monkeypatch):
    """A command of its own module, which remembers what it was given; `run` may be replaced."""
    module = ModuleType("greet_command")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name")

    def run(args: argparse.Namespace) -> int:
        module.given = args.name
        return 1

    module.add_arguments, module.run = add_arguments, run
    monkeypatch.setitem(sys.modules, "greet_command", module)
    return module


REGISTRY = (Command("greet", "greet_command", "say hello"), Command("other", "no_such_module", "never imported"))


class TestCommands:
    def test_a_command_gets_its_arguments_and_returns_the_exit_status(self, greet):
        assert main(["greet", "world"], REGISTRY) == 1
        assert greet.given == "world"

    def test_it_says_which_release_it_is(self, capsys):
        """The one that pyproject.toml, the packages' maker, says as well."""
        with pytest.raises(SystemExit) as ended:
            main(["--version"])
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

        assert (0, f"hookcache {project['version']}\n") == (ended.value.code, capsys.readouterr().out)

    def test_no_other_commands_module_is_imported(self, greet):
        """`other` has no module at all, and nobody notices until it is called."""
        main(["greet", "world"], REGISTRY)
        with pytest.raises(ModuleNotFoundError):
            main(["other"], REGISTRY)

    @pytest.mark.parametrize(("output", "status"), [("log", 2), ("link", 2), ("page", 0), ("new", 0)])
    def test_a_log_is_not_replaced_by_what_is_said_of_it(self, tmp_path, capsys, monkeypatch, output, status):
        """B22: under any name that the file has."""
        module = ModuleType("reader_command")

        def add_arguments(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("sources", nargs="*")
            parser.add_argument("-o", "--output")

        module.add_arguments, module.run = add_arguments, lambda args: Path(args.output).write_text("said") * 0
        monkeypatch.setitem(sys.modules, "reader_command", module)
        (tmp_path / "log").write_text("receipts")
        (tmp_path / "link").symlink_to(tmp_path / "log")
        (tmp_path / "page").write_text("of before")
        arguments = ["read", "-", str(tmp_path / "log"), "-o", str(tmp_path / output)]

        assert main(arguments, (Command("read", "reader_command", "read"),)) == status
        assert (tmp_path / "log").read_text() == "receipts"
        assert bool(status) == ("name another file" in capsys.readouterr().err)

    @pytest.mark.parametrize(
        ("arguments", "read"),
        [
            (["a", "--since", "1d", "b"], ["a", "b"]),
            (["--since", "1d", "a"], ["a"]),
            (["a", "--since", "1d", "-"], ["a", "-"]),
            (["a", "--sinse", "b"], None),
        ],
        ids=["around", "behind", "standard input", "control: no such option"],
    )
    def test_files_stand_where_they_are_put(self, monkeypatch, arguments, read):
        """`report a.log --by step b.log` was told that it knows no argument b.log."""
        module, given = ModuleType("reader_command"), []

        def add_arguments(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("sources", nargs="*")
            parser.add_argument("--since")

        module.add_arguments, module.run = add_arguments, lambda args: given.append(args.sources) or 0
        monkeypatch.setitem(sys.modules, "reader_command", module)
        registry = (Command("read", "reader_command", "read"),)
        if read is None:
            with pytest.raises(SystemExit):
                main(["read", *arguments], registry)
        else:
            assert main(["read", *arguments], registry) == 0
            assert given == [read]

    def test_help_lists_every_command_and_imports_none(self, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["--help"], REGISTRY)
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        for command in REGISTRY:
            assert command.name in shown
            assert command.help in shown

    def test_no_command_shows_the_help(self, capsys):
        assert main([], REGISTRY) == 0
        assert "usage: hookcache" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "whose"),
        [(["nonsense"], ""), (["--nonsense"], ""), (["greet"], " greet"), (["greet", "a", "b"], " greet")],
    )
    def test_bad_arguments_are_status_2_and_one_line_that_names_the_command(self, greet, capsys, arguments, whose):
        with pytest.raises(SystemExit) as ended:
            main(arguments, REGISTRY)
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"hookcache{whose}: ")
        assert line.endswith(f"; see hookcache{whose} --help")

    @pytest.mark.parametrize("default", [None, "us-east-1"])
    @pytest.mark.parametrize("told", ["eu-west-1", "", None])
    def test_the_region_is_the_one_that_every_remedy_names(self, told, default, greet, monkeypatch):
        """boto3 reads AWS_DEFAULT_REGION alone: an erase would go to the other region's stack of the same name."""
        for name, value in (("AWS_REGION", told), ("AWS_DEFAULT_REGION", default)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        seen = []
        greet.run = lambda _: seen.append(boto3.session.Session().region_name) or 0

        assert main(["greet", "world"], REGISTRY) == 0
        assert seen == [told or default]
        assert os.environ.get("AWS_DEFAULT_REGION") == default

    def test_an_endpoint_that_is_no_address_is_one_line(self, monkeypatch, capsys):
        """Status 2: the SDK raises a bare ValueError for a host without http:// before it; any other is a bug of ours."""
        for name, value in (("ENDPOINT_URL", "localhost:4566"), ("REGION", "us-east-1"), ("CONFIG_FILE", os.devnull)):
            monkeypatch.setenv(f"AWS_{name}", value)

        assert main(["report", "logs:/x"]) == 2
        assert capsys.readouterr().err == (
            "hookcache: Invalid endpoint: localhost:4566; correct AWS_ENDPOINT_URL, or endpoint_url in the profile: "
            "http://HOST or https://HOST\n"
        )

    def test_control_another_value_error_is_not_hidden(self, greet):
        def run(args: argparse.Namespace) -> int:
            raise ValueError("of ours")

        greet.run = run
        with pytest.raises(ValueError, match="of ours"):
            main(["greet", "world"], REGISTRY)

    @pytest.mark.parametrize("kind", [BadInput, SourceError, ConfigurationError])
    def test_bad_input_is_the_commands_one_line_and_status_2(self, greet, capsys, kind):
        """Wherever a command notices it; what else it raises is a bug, and shows as one."""

        def run(args: argparse.Namespace) -> int:
            raise kind(f"{args.name}: give another")

        greet.run = run
        assert main(["greet", "world"], REGISTRY) == 2
        assert capsys.readouterr().err == "hookcache greet: world: give another\n"

    def test_ctrl_c_is_a_word_and_status_1(self, greet, capsys):
        def run(args: argparse.Namespace) -> int:
            raise KeyboardInterrupt

        greet.run = run
        assert main(["greet", "world"], REGISTRY) == 1
        assert capsys.readouterr().err == "Interrupted.\n"

    def test_ctrl_c_while_a_command_is_loaded_is_the_same_word(self, monkeypatch, capsys):
        """Libraries take a second to load; nobody who stops there shall see where Python was."""

        def load(name: str) -> ModuleType:
            raise KeyboardInterrupt

        monkeypatch.setattr("hookcache_ops.cli.importlib.import_module", load)
        assert main(["greet", "world"], REGISTRY) == 1
        assert capsys.readouterr().err == "Interrupted.\n"


class TestRealCommands:
    @pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
    def test_every_command_explains_itself_with_an_example(self, command, capsys):
        """`--help` of each command works and shows how to call it."""
        with pytest.raises(SystemExit) as ended:
            main([command.name, "--help"])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert f"usage: hookcache {command.name}" in shown
        assert f"\n  hookcache {command.name}" in shown

    def test_names_are_unique(self):
        names = [command.name for command in COMMANDS]
        assert len(names) == len(set(names))

    def test_a_reader_that_leaves_early_gets_no_traceback(self):
        """`hookcache ... | head -1` ends quietly."""
        code = (
            "import sys, types; from hookcache_ops.cli import main, Command\n"
            "m = types.ModuleType('chatty'); m.add_arguments = lambda parser: None\n"
            "m.run = lambda args: [print('line') for _ in range(100000)] and 0\n"
            "sys.modules['chatty'] = m; sys.exit(main(['chatty'], [Command('chatty', 'chatty', 'talks')]))"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "line\n"
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(timeout=30) == 1

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    @pytest.mark.parametrize("lines", [1, 100_000], ids=["at the end", "on the way"])
    def test_a_full_disk_is_one_line_and_status_2(self, lines):
        """`hookcache ... > file` where there is no room, whether that shows at once or when the last bytes go out."""
        code = (
            "import sys, types; from hookcache_ops.cli import main, Command\n"
            "m = types.ModuleType('chatty'); m.add_arguments = lambda parser: None\n"
            f"m.run = lambda args: [print('line') for _ in range({lines})] and 0\n"
            "sys.modules['chatty'] = m; sys.exit(main(['chatty'], [Command('chatty', 'chatty', 'talks')]))"
        )
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False
            )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "No space left on device; make room" in done.stderr

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    @pytest.mark.parametrize("buffered", ["", "1"], ids=["in one piece", "piece by piece"])
    @pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["report", "--help"]], ids=str)
    def test_a_full_disk_takes_no_help_either(self, arguments, buffered):
        """argparse passes over it: status 0 and no word, or 120 and Python's own."""
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "hookcache_ops", *arguments],
                env={**os.environ, "PYTHONUNBUFFERED": buffered},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=30,
                check=False,
            )
        assert (2, 1) == (done.returncode, done.stderr.count("\n"))
        assert "No space left on device; make room" in done.stderr

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    @pytest.mark.parametrize("buffered", ["", "1"], ids=["in one piece", "piece by piece"])
    @pytest.mark.parametrize("arguments", [["--bogus"], ["report", "/nonexistent"]], ids=str)
    def test_bad_input_is_status_2_where_its_line_finds_no_room(self, arguments, buffered):
        """P58: `2> file` on a full disk: 1 would say that the command ran, and found something."""
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "hookcache_ops", *arguments],
                env={**os.environ, "PYTHONUNBUFFERED": buffered},
                stderr=full,
                timeout=30,
                check=False,
            )
        assert 2 == done.returncode

    def test_ctrl_c_while_python_loads_the_command_line_is_the_same_word(self):
        """A twentieth of a second of each command, which ended in twenty lines of where Python was."""
        code = (
            "import os, signal, sys\n"
            "class Stopped:\n"
            "    def find_spec(self, name, *others):\n"
            "        if name == 'hookcache_ops.cli': os.kill(os.getpid(), signal.SIGINT)\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever starts the tests may ignore\n"
            "sys.meta_path.insert(0, Stopped())\n"
            "from hookcache_ops.__main__ import main\n"
            "sys.exit(main())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
        assert (1, "", "Interrupted.\n") == (done.returncode, done.stdout, done.stderr)

    def test_the_command_is_the_one_that_is_installed(self):
        """What the two tests above show of `python -m hookcache_ops` holds for `hookcache`."""
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert {"hookcache": "hookcache_ops.__main__:main"} == project["scripts"]

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
    def test_a_terminal_of_any_encoding_gets_every_line(self, encoding):
        """B15: what it cannot show, half a character among it, is escaped; the command goes on."""
        done = self.talk(r"print('bar \u2588 half \ud83d'); print('end')", PYTHONIOENCODING=encoding)
        assert done.stdout.decode(encoding).splitlines() == [
            "bar \u2588 half \\ud83d" if encoding == "utf-8" else "bar \\u2588 half \\ud83d",
            "end",
        ]
        assert (done.stderr, done.returncode) == (b"", 0)

    def test_a_terminal_shows_sequences_and_does_not_obey_them(self, greet, capsys):
        """T11, P36: what a foreign log, a file or AWS says, wherever a command prints or raises it; the streams are given back."""
        title = "\x1b]0;title\x07"

        def run(args: argparse.Namespace) -> int:
            print(f"step {args.name}")
            sys.stdout.writelines([f"{args.name}\n"])
            print(f"note {args.name}", file=sys.stderr)
            raise BadInput(f"{args.name}: give another")

        greet.run = run
        before = sys.stdout, sys.stderr
        assert main(["greet", title], REGISTRY) == 2
        shown = capsys.readouterr()

        spelt = "\\u001b]0;title\\u0007"
        assert shown.out == f"step {spelt}\n{spelt}\n"
        assert shown.err == f"note {spelt}\nhookcache greet: {spelt}: give another\n"
        assert before == (sys.stdout, sys.stderr)

    @pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
    def test_a_command_that_is_ended_leaves_nothing_half_written(self, tmp_path, sent):
        """`timeout`, a scheduler, a closed terminal: the file beside the page stayed, one for each attempt."""
        code = f"from hookcache_ops.output import whole_file; import os, pathlib, time\n    with whole_file(pathlib.Path({str(tmp_path / 'page')!r})) as file: os.kill(os.getpid(), {int(sent)}); time.sleep(20)"
        done = self.talk(code)

        assert (done.stderr, done.returncode) == (b"", 128 + sent)
        assert [] == list(tmp_path.iterdir())

    def test_the_handlers_of_a_signal_are_given_back(self, greet):
        before = [signal.getsignal(each) for each in ENDINGS]
        during = []
        greet.run = lambda _: during.extend(signal.getsignal(each) for each in ENDINGS) or 0
        main(["greet", "world"], REGISTRY)

        assert before == [signal.getsignal(each) for each in ENDINGS]
        assert before != during

    @pytest.mark.parametrize("closed", [0, 1, 2])
    def test_a_closed_stream_is_no_traceback(self, closed):
        """Schedulers start commands without standard input, or without any stream."""
        code = "sys.stdin.isatty() or sys.stdin.read(); sys.stdout.isatty(); sys.stderr.isatty(); print('end')"
        done = self.talk(code, closed=closed)
        assert (done.stderr, done.returncode) == (b"", 0)

    @staticmethod
    def talk(code, closed=None, **variables):
        """A process whose one command runs `code`."""
        text = (
            "import signal, sys, types; from hookcache_ops.cli import main, Command\n"
            "signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which whoever starts the tests may ignore, as nohup does\n"
            "m = types.ModuleType('chatty'); m.add_arguments = lambda parser: None\n"
            f"def run(args):\n    {code}\n    return 0\n"
            "m.run = run; sys.modules['chatty'] = m; sys.exit(main(['chatty'], [Command('chatty', 'chatty', 'talks')]))"
        )
        return subprocess.run(
            [sys.executable, "-c", text],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **variables},
            preexec_fn=None if closed is None else lambda: os.close(closed),
            timeout=30,
            check=False,
        )
