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
    (ClientError({"Error": {"Code": "ExpiredTokenException"}}, "Invoke"), "or log in again"),
    (ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "Invoke"), "check the name and AWS_REGION"),
]


class Unreachable:
    """A Lambda client whose every call fails in one way."""

    def __init__(self, trouble):
        self.trouble = trouble

    def get_function_configuration(self, **_):
        raise self.trouble

    invoke = get_function_configuration


@pytest.mark.parametrize(
    ("trouble", "told"), TROUBLES, ids=[type(error).__name__ for error, _ in TROUBLES[:5]] + ["old", "gone"]
)
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_what_cannot_be_reached_is_one_line_with_its_remedy(arguments, trouble, told, capsys, monkeypatch):
    monkeypatch.setattr("hookcache_ops.reach._lambda_client", lambda: Unreachable(trouble))
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"hookcache {arguments[0]}: ")
    assert shown.err.endswith(told + "\n")
    assert shown.err.count("\n") == 1
    assert ".;" not in shown.err


@pytest.mark.parametrize("command", [["warm", "pairs.jsonl"], ["export", "-o", "x.export"], ["mode", "--show"]])
def test_a_shell_that_names_no_cache_is_told_what_to_give(command, capsys):
    assert main(command) == 2
    assert "this shell's HOOKCACHE_* variables name no table; give --function" in capsys.readouterr().err
