"""`hookcache prices`: the rows that the host needs, the table in use, and a check that names findings and remedies."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError, ReadTimeoutError

from fakes import FakeS3, FakeSecrets
from hookcache.prices import OWN_PRICES, OWN_ROW, PriceTable
from hookcache_ops import prices_command
from hookcache_ops.cli import main
from hookcache_ops.price_check import check_function, check_rows

EXAMPLE = Path(prices_command.example_path())
MODEL = "bedrock/us.amazon.nova-pro-v1:0"
MISTRAL = "lambda_hook/GENAIIDP-mistral-ocr-hook"
WRAPPER = ("--function", "GENAIIDP-cache-ocr")
HERE = ("--account", "123456789012", "--region", "us-east-1")
ARN = "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-cache-ocr"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    monkeypatch.delenv("HOOKCACHE_PRICES", raising=False)
    monkeypatch.delenv("HOOKCACHE_PRICE_AS", raising=False)


@pytest.fixture
def run(capsys):
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["prices", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def table(tmp_path, rows: dict[str, dict[str, object]]) -> str:
    file = tmp_path / "pricing.yaml"
    listed = [
        {"name": name, "units": [{"name": unit, "price": price} for unit, price in units.items()]}
        for name, units in rows.items()
    ]
    file.write_text(yaml.safe_dump({"pricing": listed}, sort_keys=False))
    return str(file)


@pytest.mark.parametrize("reference", ["s3://config/pricing.yaml", "ssm:/idp/pricing"])
def test_a_table_is_read_from_where_the_function_reads_it(reference, run, monkeypatch):
    """P55: every spelling of HOOKCACHE_PRICES can be checked before it is deployed; a broken table is named."""
    s3, ssm = FakeS3(), FakeSecrets()
    monkeypatch.setattr(boto3, "client", lambda service: {"s3": s3, "ssm": ssm}[service])
    status, _, err = run("--check", reference)
    assert (2, True) == (status, reference in err)

    for text, wanted in ((EXAMPLE.read_text(), 0), ("pricing: [", 2)):
        s3.put_object(Bucket="config", Key="pricing.yaml", Body=text.encode())
        ssm.parameters["/idp/pricing"] = text
        status, _, err = run("--check", reference)
        assert (wanted, wanted == 2) == (status, reference in err)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ReadTimeoutError(endpoint_url="https://ssm"), "; check the network and AWS_REGION"),
        (
            ClientError({"Error": {"Code": "ExpiredTokenException", "Message": "It\nis over."}}, "GetParameter"),
            "or log in",
        ),
        (ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetParameter"), "the right to read it"),
    ],
)
def test_a_table_that_aws_does_not_give_is_one_line_with_its_own_remedy(error, remedy, run, monkeypatch):
    """The SDK's timeouts are OSErrors as well, and its words may have several lines."""

    def refused(_service):
        raise error

    monkeypatch.setattr(boto3, "client", refused)
    status, _, err = run("--check", "ssm:/idp/pricing")
    assert (status, err.count("\n"), err.strip().endswith(remedy)) == (2, 1, True)


def test_the_shipped_example_is_a_sound_table(run):
    """P55: the example parses as the runtime parses it, and the check finds nothing in it."""
    status, out, _ = run("--check", str(EXAMPLE))
    rows = PriceTable.parse(EXAMPLE.read_text()).rows

    assert (status, "well formed" in out) == (0, True)
    assert rows["bedrock/us.amazon.nova-pro-v1:0"]["inputTokens"] == Decimal("8.0E-7")
    assert rows[MISTRAL] == {"pages": Decimal("0.004")}
    assert rows[OWN_ROW] == OWN_PRICES


def test_the_table_in_use_is_listed(run, monkeypatch, tmp_path):
    """HOOKCACHE_PRICES names it, as for the function; without it the example is listed, as prices are read: per million."""
    _, example, _ = run()
    monkeypatch.setenv("HOOKCACHE_PRICES", table(tmp_path, {"my/row": {"pages": "0.5"}}))
    _, own, _ = run("--json")

    assert f"\n{MISTRAL}\n    pages                    4,000\n" in example
    assert "\n    inputTokens                  0.06\n" in example
    assert "E-" not in example
    assert all(len(line) <= 80 for line in example.splitlines())
    assert json.loads(own) == {"pricing": [{"name": "my/row", "units": [{"name": "pages", "price": "0.5"}]}]}


@pytest.mark.parametrize("row", [MODEL, MISTRAL])
def test_printed_rows_are_a_table_of_the_host(run, row):
    """Both metering keys, all regimes: what is printed can be pasted, and holds the units of the row it is priced as."""
    status, out, _ = run(*WRAPPER, *HERE, "--price-as", row)
    rows = PriceTable.parse(out).rows

    assert status == 0
    assert list(rows) == ["lambda_hook/GENAIIDP-cache-ocr", f"lambda_hook/{ARN}", "GENAIIDP-cache-ocr"]
    assert all(units == PriceTable.parse(EXAMPLE.read_text()).rows[row] for units in rows.values())


def test_printed_rows_pass_the_check(run, tmp_path):
    """Print, paste, check: nothing to find."""
    _, out, _ = run(*WRAPPER, *HERE, "--price-as", MODEL)
    host = tmp_path / "host.yaml"
    host.write_text(EXAMPLE.read_text() + out.partition("pricing:\n")[2])

    status, told, _ = run(*WRAPPER, *HERE, "--price-as", MODEL, "--check", str(host))

    assert (status, told) == (0, f"{host}: the wrapper is priced right\n")


def test_requests_are_never_printed(run, tmp_path):
    """A request is counted for a hit as well: priced, every hit would be charged."""
    prices = table(tmp_path, {"a/b": {"requests": "0.1", "pages": "0.2"}})
    _, out, _ = run(*WRAPPER, "--prices", prices, "--price-as", "a/b", "--json")

    assert all(row["units"] == [{"name": "pages", "price": "0.2"}] for row in json.loads(out)["pricing"])


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-gov-west-1", "aws-us-gov"),
        ("cn-north-1", "aws-cn"),
        ("us-iso-east-1", "aws-iso"),
        ("eusc-de-east-1", "aws-eusc"),
        ("eu-central-1", "aws"),
    ],
)
def test_the_arn_is_that_of_the_partition(run, region, partition):
    _, out, _ = run(*WRAPPER, "--account", "123456789012", "--region", region, "--price-as", MISTRAL)

    assert f"- name: lambda_hook/arn:{partition}:lambda:{region}:123456789012:function:GENAIIDP-cache-ocr" in out


FULL, BARE = "lambda_hook/GENAIIDP-cache-ocr", "GENAIIDP-cache-ocr"
GOOD = {"pages": "0.004"}
FINDINGS = {
    "no row": ({}, "finds no row", f"add the row {FULL}"),
    "only the bare row": ({BARE: GOOD}, "without lambda_hook/ is not meant to be found", f"add the row {FULL}"),
    "requests priced": (
        {FULL: GOOD | {"requests": "0.1"}, BARE: GOOD},
        "every hit would be charged",
        "remove requests",
    ),
    "another price": (
        {FULL: {"pages": "0.4"}, BARE: GOOD},
        "takes 0.4 for pages, not 0.004",
        f"correct pages in the row {FULL}",
    ),
    "unit missing": (
        {FULL: {"inputTokens": "0"}, BARE: GOOD},
        "finds no pages and leaves it unpriced",
        f"add pages to the row {FULL}",
    ),
    "neighbour": ({FULL: {"cachedPages": "9"}, BARE: GOOD}, "takes the price of cachedPages", "add pages"),
    "a row of another first": (
        {"GENAIIDP-cache": GOOD, BARE: GOOD},
        "takes the row GENAIIDP-cache, which is another's",
        "before it",
    ),
    "no row for older hosts that meter an ARN": (
        {FULL: GOOD},
        f"substring and meters lambda_hook/arn:aws:lambda:REGION:ACCOUNT:function:{BARE} finds no row",
        f"add the row {BARE}",
    ),
    "price as a number": ({FULL: {"pages": 0.004}, BARE: GOOD}, "is a number", "in quotes"),
    "price of a million": ({FULL: GOOD | {"inputTokens": "0.8"}, BARE: GOOD}, "inputTokens in", "price of one token"),
}


@pytest.mark.parametrize("kind", FINDINGS)
def test_a_table_that_charges_wrongly_is_told_with_the_remedy(kind, run, tmp_path):
    """P55, S50: what a host would charge wrongly or leave unpriced is found before the bill comes."""
    rows, told, remedy = FINDINGS[kind]
    status, out, _ = run(*WRAPPER, "--price-as", MISTRAL, "--check", table(tmp_path, rows), "--json")
    findings = json.loads(out)["findings"]

    assert status == 1
    assert any(told in finding["finding"] and remedy in finding["remedy"] for finding in findings), findings


def test_the_hosts_own_price_of_the_backend_is_what_the_wrapper_is_held_to(run, tmp_path, monkeypatch):
    """P55: nobody's bill goes by an example. Where a table is named for it, that one goes before."""
    own = {MISTRAL: {"pages": "0.005"}, FULL: {"pages": "0.005"}, BARE: {"pages": "0.005"}}
    check = (*WRAPPER, "--price-as", MISTRAL, "--check", table(tmp_path, own))
    by_itself, by_example = run(*check), run(*check, "--prices", str(EXAMPLE))
    monkeypatch.setenv("HOOKCACHE_PRICES", str(EXAMPLE))
    by_setting = run(*check)

    assert (0, True) == (by_itself[0], "the wrapper is priced right" in by_itself[1])
    assert (1, True) == (by_example[0], "takes 0.005 for pages, not 0.004" in by_example[1])
    assert by_example == by_setting


def test_a_row_that_only_the_host_has_can_be_checked(run, tmp_path):
    rows = {"mine/model": {"pages": "0.1"}, FULL: {"pages": "0.2"}, BARE: {"pages": "0.1"}}
    status, out, _ = run(*WRAPPER, "--price-as", "mine/model", "--check", table(tmp_path, rows))

    assert (1, True) == (status, "takes 0.2 for pages, not 0.1" in out)


def test_a_row_written_twice_is_found(run, tmp_path):
    file = tmp_path / "twice.yaml"
    row = '  - {name: a/b, units: [{name: pages, price: "1"}]}\n'
    file.write_text("pricing:\n" + row + row)
    status, out, _ = run("--check", str(file))

    assert (status, "a/b stands twice" in out) == (1, True)


def test_a_sound_table_has_no_findings():
    """The check's own control."""
    rows = {FULL: {"pages": Decimal("0.004")}, BARE: {"pages": Decimal("0.004")}}

    assert check_function(rows, {"pages": Decimal("0.004")}, BARE, [FULL]) == []
    assert check_function(rows, {"pages": Decimal("0.005")}, BARE, [FULL]) != []


def test_what_costs_nothing_is_no_finding():
    """P55, contract 4.4: requests at 0, and units that the host declares free; a price per token at the ceiling is one."""
    priced = {"pages": Decimal("0.004"), "requests": Decimal(0)}
    wanted = {"pages": Decimal("0.004"), "totalTokens": Decimal(0)}

    assert [] == check_function({FULL: priced, BARE: priced}, wanted, BARE, [FULL])
    assert [] == check_rows([{"name": "a/b", "units": [{"name": "inputTokens", "price": "0.001"}]}])
    assert 1 == len(check_rows([{"name": "a/b", "units": [{"name": "inputTokens", "price": "0.0011"}]}]))


def test_a_row_that_is_not_there_is_not_spoken_of():
    """Each finding is of a row that the table has, or asks for one."""
    found = check_function({"other": {"pages": Decimal(1)}}, {"pages": Decimal("0.004")}, BARE, [FULL])

    assert found != []
    assert [] == [finding.text for finding in found if "is not meant to be found" in finding.text]


@pytest.mark.parametrize(("letters", "status"), [(55, 0), (56, 2)])
def test_a_functions_name_is_as_long_as_lambda_allows(run, letters, status):
    """64 letters, the host's GENAIIDP- among them."""
    assert status == run("--function", "GENAIIDP-" + "x" * letters, "--price-as", MISTRAL)[0]


@pytest.mark.parametrize("price", ["abc", "-1", "NaN", "0,004"])
def test_a_price_that_is_none_is_told_by_row_and_unit(price, run, tmp_path):
    """Of a long table, which line to mend."""
    status, _, err = run("--check", table(tmp_path, {"my/row": {"inputTokens": "1E-6", "pages": price}}))

    assert status == 2
    assert f"my/row, pages: '{price}' is no price" in err


def test_small_prices_are_spelt_as_tables_spell_them(run):
    """3.2E-6, not 0.0000032: nobody counts zeros."""
    _, out, _ = run("--function", "GENAIIDP-cache-ocr", "--price-as", "bedrock/us.amazon.nova-pro-v1:0")

    assert 'price: "3.2E-6"' in out
    assert 'price: "0.004"' in run(*WRAPPER, "--price-as", MISTRAL)[1]
    assert "0.0000" not in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*WRAPPER,), "--price-as ROW is missing"),
        ((*WRAPPER, "--price-as", "bedrock/us.amazon.nova-pro"), "did you mean bedrock/us.amazon.nova-pro-v1:0?"),
        ((*WRAPPER, "--price-as", MODEL, "--account", "123456789012"), "go together"),
        ((*WRAPPER, "--price-as", MODEL, "--account", "12", "--region", "us-east-1"), "give its 12 digits"),
        ((*WRAPPER, "--price-as", MODEL, "--account", "123456789012", "--region", "here"), "write it as us-east-1"),
        (("--function", ARN, "--price-as", MODEL), "give the bare name"),
        (("--price-as", MODEL), "name it with --function"),
        (("--account", "123456789012", "--region", "us-east-1"), "name it with --function"),
        (("--check", str(EXAMPLE), "--price-as", MODEL), "name it with --function"),
        ((*WRAPPER, "--check", str(EXAMPLE)), "needs --price-as"),
        (("--check", "/nowhere.yaml"), "give a price table"),
        (("--prices", __file__), "not in the host's format"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy_and_status_2(arguments, told, run):
    status, _, err = run(*arguments)

    assert status == 2
    assert err.count("\n") == 1
    assert told in err
