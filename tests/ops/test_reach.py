"""A cache that cannot be reached is told in one line with its remedy, by every command that reaches one."""

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    UnauthorizedSSOTokenError,
)

from hookcache_ops.cli import main
from hookcache_ops.reach import Direct
from hookcache_ops.transfer import ExportFile

LOG_IN = "; set AWS_PROFILE and AWS_REGION, or log in"
COMMANDS = {
    "erase": ["erase", "--key-id", "9cad8744072ba47c", "--function", "GENAIIDP-cache-x"],
    "erase through": ["erase", "--key-id", "9cad8744072ba47c", "--through", "hookcache-erase-x", "--yes"],
    "mode": ["mode", "--show", "--function", "GENAIIDP-cache-x"],
    "invalidate": ["invalidate", "--all", "--function", "GENAIIDP-cache-x", "--yes"],
    "warm": ["warm", "pairs.jsonl", "--function", "GENAIIDP-cache-x"],
    "export": ["export", "-o", "x.export", "--function", "GENAIIDP-cache-x"],
    "import": ["import", "x.export", "--from-function", "GENAIIDP-cache-x", "--function", "GENAIIDP-cache-y"],
}
TROUBLES = [
    (NoCredentialsError(), "Unable to locate credentials" + LOG_IN),
    (NoRegionError(), "You must specify a region" + LOG_IN),
    (ProfileNotFound(profile="gone"), "The config profile (gone) could not be found" + LOG_IN),
    (UnauthorizedSSOTokenError(), LOG_IN),
    (EndpointConnectionError(endpoint_url="https://lambda"), "; check the network and AWS_REGION"),
    (ClientError({"Error": {"Code": "ExpiredTokenException"}}, "Invoke"), "or log in"),
    (ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke"), "; wait a moment and try again"),
    (ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "Invoke"), "check the name and AWS_REGION"),
]


DENIED = ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetFunctionConfiguration")


@pytest.mark.parametrize(
    ("told", "remedy"),
    [
        ("EndpointConnectionError", "check the network and AWS_REGION"),
        ("ConnectionClosedError", "check the network and AWS_REGION"),
        ("AccessDeniedException", "check your rights on its table and secret, and the region"),
    ],
)
def test_a_table_that_is_out_of_reach_is_no_missing_right(told, remedy):
    """The commands name the error's type alone: its words may hold an address."""
    report = {"fault": "cache", "error": f"the cache could not be asked: {told}"}

    assert Direct(lambda *_: report, "here").ask({})["error"].endswith(f"{told}; {remedy}")


class Unreachable:
    """A Lambda client whose every call fails in one way."""

    def __init__(self, trouble):
        self.trouble = trouble

    def get_function_configuration(self, **_):
        raise self.trouble

    invoke = get_function_configuration


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Whatever a command looks at before it asks AWS."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text('{"event": {}, "answer": {}}')
    ExportFile(tmp_path / "x.export", "hookcache", "default").finish()


@pytest.mark.parametrize(
    ("trouble", "told"), TROUBLES, ids=[type(error).__name__ for error, _ in TROUBLES[:5]] + ["old", "busy", "gone"]
)
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_what_cannot_be_reached_is_one_line_with_its_remedy(arguments, trouble, told, capsys, monkeypatch, files):
    monkeypatch.setattr("hookcache_ops.reach._lambda_client", lambda: Unreachable(trouble))
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"hookcache {arguments[0]}: ")
    assert shown.err.endswith(told + "\n")
    assert shown.err.count("\n") == 1
    assert ".;" not in shown.err


@pytest.mark.parametrize("command", [["warm", "pairs.jsonl"], ["export", "-o", "x.export"], ["mode", "--show"]])
def test_a_shell_that_names_no_cache_is_told_what_to_give(command, capsys, files):
    assert main(command) == 2
    assert "this shell's HOOKCACHE_* variables name no table; give --function" in capsys.readouterr().err


def test_a_function_that_names_no_cache_is_told_as_such(capsys, monkeypatch):
    monkeypatch.setattr("hookcache_ops.reach._variables", lambda *_, **__: {})
    monkeypatch.setattr("hookcache_ops.reach._lambda_client", object)
    assert main(["mode", "--show", "--function", "own-hook", "--direct"]) == 2
    assert "the variables of own-hook name no table; give --function" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["warm", "export", "import", "mode"])
def test_a_right_that_is_missing_is_one_that_the_command_can_use(name, capsys, monkeypatch, files):
    """Only what has an erase function can be told to go through it."""
    monkeypatch.setattr("hookcache_ops.reach._lambda_client", lambda: Unreachable(DENIED))
    assert main(COMMANDS[name]) == 2
    told = capsys.readouterr().err
    assert ("--through" in told) == (name == "mode")
    assert ("lambda:GetFunctionConfiguration on it" in told) == (name != "mode")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            "the cache could not be asked: AccessDeniedException",
            "; check your rights on its table and secret, and the region",
        ),
        (
            "the cache could not be asked: ExpiredTokenException from GetSecretValue",
            "; set AWS_PROFILE and AWS_REGION, or log in",
        ),
        ("the cache could not be asked: ThrottlingException", "; wait a moment and try again"),
        ("the cache could not be asked: no reply within 1 s", "; check the network and AWS_REGION"),
        ("a lease moved at every try to fence it; run the erase again", ""),
    ],
)
def test_a_table_that_refuses_is_told_with_its_remedy(error, remedy):
    """The same words for erase, invalidate and mode; where they are told what to do already they stay."""
    reach = Direct(lambda *_: {"error": error, "fault": "cache"}, "here")
    assert reach.ask({"command": "show"})["error"] == error + remedy


def test_what_the_command_itself_got_wrong_stays_as_it_is():
    report = {"error": "nothing to erase was named", "fault": "command"}
    assert Direct(lambda *_: report, "here").ask({}) == report
