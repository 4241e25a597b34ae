"""Prices in the host's format: exact names, and what has no price is unpriced."""

import decimal
import threading
from decimal import Decimal

import pytest

from fakes import BUCKET, FakeClock, FakeS3, FakeSecrets
from hookcache.errors import ConfigurationError
from hookcache.prices import MOST_BYTES, OWN_PRICES, Prices, PriceTable, table_from

TEXT = """
pricing:
  - name: lambda_hook/GENAIIDP-cache-mistral
    units: [{name: pages, price: "0.004"}]
  - name: bedrock/nova
    units:
      - {name: inputTokens, price: "8.0E-7"}
      - {name: outputTokens, price: 3.2E-6}
      - {name: cacheReadInputTokens, price: "0"}
  - name: hookcache/own
    units: [{name: s3_requests, price: "0.5"}]
"""


def prices(row="bedrock/nova"):
    return Prices(row, lambda: PriceTable.parse(TEXT))


def test_units_are_charged_at_their_own_price():
    """P55: exact decimals; pages like tokens."""
    assert ({"pages": "0.012"}, (Decimal("0.012"), {})) == (
        prices("lambda_hook/GENAIIDP-cache-mistral").costs({"pages": 3}),
        prices("lambda_hook/GENAIIDP-cache-mistral").total({"pages": 3}),
    )
    assert Decimal("1.84E-3") == prices().total({"inputTokens": 1500, "outputTokens": 200, "totalTokens": 1700})[0]


@pytest.mark.parametrize("digits", [28, 3])
def test_the_arithmetic_is_our_own(digits):
    """P18, P55: a handler in this process may have set its thread's to a few digits, or to raise where some are cut."""
    with decimal.localcontext() as its:
        its.prec, its.traps[decimal.Inexact] = digits, True
        total, _ = prices().total({"inputTokens": 12_345, "outputTokens": 1})

    assert Decimal("0.0098792") == total


@pytest.mark.parametrize("unit", ["pages", "inputtokens", "inputToken", "savedInputTokens", "cacheWriteInputTokens"])
def test_a_unit_without_a_price_is_unpriced(unit):
    """P55, S50: counted by unit, never 0, never a neighbour's price."""
    for count in (7, 1, 0.5):
        total, unpriced = prices().total({"inputTokens": 1, unit: count})

        assert (Decimal("8.0E-7"), {unit: count}) == (total, unpriced)


@pytest.mark.parametrize("row", ["", "bedrock/nov", "bedrock/nova-pro", "nova", "BEDROCK/NOVA"])
def test_a_row_is_named_exactly(row):
    """P55, S50: a substring of a row's name is another name."""
    assert (Decimal(0), {"inputTokens": 5}) == prices(row).total({"inputTokens": 5})


def test_what_costs_nothing_is_not_unpriced():
    """P55: unused units, a price of 0, and what the host itself declares free."""
    assert (Decimal(0), {}) == prices().total({"pages": 0, "cacheReadInputTokens": 9, "totalTokens": 9, "requests": 1})


def test_the_table_is_read_once_and_late():
    """P34: not before the first cost is needed."""
    reads = []
    prices = Prices("bedrock/nova", lambda: reads.append(1) or PriceTable.parse(TEXT))
    prices.own({"s3_requests": 1})
    assert [] == reads

    prices.costs({"inputTokens": 1})
    prices.total({"inputTokens": 1})
    assert [1] == reads


@pytest.mark.parametrize("price", ["1000000000000.1", "1e13", "9e999998", "-1e-30"])
def test_a_price_that_is_a_slip_of_the_pen_is_refused(price):
    """P34, P18: what it came to would pass what decimals hold, after the backend was paid."""
    with pytest.raises(ConfigurationError, match="is no price"):
        PriceTable.parse(f"pricing: [{{name: a, units: [{{name: pages, price: '{price}'}}]}}]")
    assert Decimal(10**12) == PriceTable.parse("pricing: [{name: a, units: [{name: p, price: '1e12'}]}]").price(
        "a", "p"
    )


def test_a_short_text_that_spells_out_many_prices_is_refused():
    """P34: 20 KB of aliases would take seconds in a thread that nobody can stop; the control has as many as are allowed."""

    def table(rows, units):
        listed = ", ".join(f"{{name: u{number}, price: 1}}" for number in range(units))
        return f"pricing: [{{name: a, units: &u [{listed}]}}{', {name: a, units: *u}' * (rows - 1)}]"

    with pytest.raises(ConfigurationError, match="more than 100000 prices"):
        PriceTable.parse(table(101, 1_000))
    assert 1_000 == len(PriceTable.parse(table(100, 1_000)).rows["a"])


def test_an_unreadable_table_leaves_units_unpriced():
    """P34, P55: a receipt is no reason to fail a request."""

    def broken():
        raise OSError("no such file")

    assert (Decimal(0), {"inputTokens": 5}) == Prices("bedrock/nova", broken).total({"inputTokens": 5})


def test_a_table_that_could_not_be_read_is_asked_for_again():
    """P18, P34: a fault of minutes leaves no environment without prices for its life, and no request asks in vain each time."""
    clock, asked, there = FakeClock(), [], []

    def load():
        asked.append(clock.now_ms())
        if not there:
            raise OSError("no answer")
        return PriceTable.parse(TEXT)

    prices, began_ms = Prices("bedrock/nova", load, clock), clock.now_ms()
    for _ in range(4_000):
        assert {"inputTokens": 5} == prices.total({"inputTokens": 5})[1]
        clock.advance(1.0)
    assert [0, 30, 90, 210, 450, 930, 1830, 2730, 3630] == [round((at - began_ms) / 1000) for at in asked]

    there.append(True)
    clock.advance(900.0)
    assert (Decimal("4.0E-6"), {}) == prices.total({"inputTokens": 5})
    prices.total({"inputTokens": 5})
    assert 10 == len(asked)


class Hanging:
    """A table that does not come before the test is over; `waited_out` says that somebody waited for it all the same."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr("hookcache.prices.LOAD_SECONDS", 3_600.0)
        self.free, self.waited_out, self.asked = threading.Event(), False, 0

    def __call__(self):
        self.asked += 1
        self.waited_out |= not self.free.wait(5)
        return PriceTable.parse(TEXT)


@pytest.fixture
def hanging(monkeypatch):
    hanging = Hanging(monkeypatch)
    yield hanging
    hanging.free.set()


@pytest.mark.parametrize(("seconds", "asked"), [(0.01, 1), (0.0, 0)])
def test_a_table_that_hangs_is_waited_for_as_long_as_there_is_time(hanging, seconds, asked):
    """P21, P34: the answer is there; that one invocation had no time for it is not held against the table."""
    prices = Prices("bedrock/nova", hanging, FakeClock())

    assert (Decimal(0), {"inputTokens": 5}) == prices.total({"inputTokens": 5}, seconds)
    assert (asked, False) == (hanging.asked, hanging.waited_out)
    hanging.free.set()
    assert (Decimal("4.0E-6"), {}) == prices.total({"inputTokens": 5})


def test_a_table_that_hangs_for_its_whole_time_is_left_alone_for_a_while(hanging, monkeypatch):
    """P34: each answer would wait for it anew."""
    monkeypatch.setattr("hookcache.prices.LOAD_SECONDS", 0.01)
    prices = Prices("bedrock/nova", hanging, FakeClock())
    for _ in range(3):
        prices.total({"inputTokens": 5})

    assert 1 == hanging.asked


def test_a_table_that_is_refused_is_left_alone_for_a_while_however_little_time_there_was():
    """P34: it was not for want of time."""
    asked = []

    def denied():
        asked.append(1)
        raise PermissionError

    prices = Prices("bedrock/nova", denied, FakeClock())
    for _ in range(3):
        prices.total({"inputTokens": 5}, 1.0)

    assert [1] == asked


def test_a_table_that_comes_late_is_kept(hanging):
    """P55: entries that are made from then on have their prices; nobody need read it again."""
    prices = Prices("bedrock/nova", hanging, FakeClock())
    prices.total({"inputTokens": 5}, 0.01)
    hanging.free.set()
    for thread in threading.enumerate():
        if thread.name == "hookcache-prices":
            thread.join(60)

    assert (Decimal("4.0E-6"), {}) == prices.total({"inputTokens": 5}, 0.01)
    assert 1 == hanging.asked


def test_a_table_that_another_thread_waits_for_is_waited_for_as_long_as_there_is_time(hanging):
    """P21, P34: its bound is that thread's."""
    prices = Prices("bedrock/nova", hanging)
    first = threading.Thread(target=prices.total, args=({"inputTokens": 5},))
    first.start()
    while not hanging.asked:
        pass
    assert {"inputTokens": 5} == prices.total({"inputTokens": 5}, 0.01)[1]
    assert not hanging.waited_out
    hanging.free.set()
    first.join(60)


def test_a_clock_that_is_set_back_does_not_stretch_the_pause():
    """P34: an hour back, and the table is asked for at once, not in an hour."""
    clock, asked = FakeClock(), []

    def broken():
        asked.append(1)
        raise OSError("no answer")

    prices = Prices("bedrock/nova", broken, clock)
    prices.costs({"inputTokens": 1})
    clock.advance(-3_600.0)
    prices.costs({"inputTokens": 1})

    assert [1, 1] == asked


def test_own_units_have_prices_that_an_operator_may_replace():
    """P56: an estimate at public prices, unit by unit."""
    prices_known = prices()
    before = prices_known.own({"s3_requests": 2, "novel": 9})
    prices_known.costs({"inputTokens": 1})

    assert 2 * OWN_PRICES["s3_requests"] == before
    assert Decimal(1) == prices_known.own({"s3_requests": 2})
    assert OWN_PRICES["lambda_requests"] == prices_known.own({"lambda_requests": 1})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "[]",
        "pricing: 5",
        "pricing: [{name: a}]",
        "pricing: [{name: a, units: [{name: b}]}]",
        "pricing: [{name: a, units: [{name: b, price: x}]}]",
        "pricing: [{name: a, units: [{name: b, price: -1}]}]",
        "pricing: [{name: a, units: [{name: b, price: .inf}]}]",
        "pricing: [{name: a, units: [{name: b, price: .nan}]}]",
        "pricing: [",
        "pricing: !!python/object/apply:os.system [true]",
        "pricing: " + "[" * 100_000,
        "- " * 100_000,
        "pricing: [{name: " + "[" * 40 + "]" * 40 + ", units: []}]",
        "a: &a [x, x]\nb: &b [*a, *a]\npricing: [{name: *b, units: []}]",
        "a: &a [x, x]\npricing: [{name: a, units: [{name: b, price: *a}]}]",
    ],
    ids=range(17),
)
def test_a_table_in_another_format_is_refused(text):
    """P55, B22: with the format in the message; nothing in it is executed."""
    with pytest.raises(ConfigurationError, match="pricing"):
        PriceTable.parse(text)


def test_a_table_as_deep_as_any_is_read():
    """B22, control: the bound on depth leaves far more than the host's format has."""
    deep = "more: " + "[" * 20 + "]" * 20 + "\n" + TEXT
    assert PriceTable.parse(TEXT) == PriceTable.parse(deep)


def test_an_object_that_is_far_too_large_for_a_table_is_not_read_whole():
    """B22: an environment's memory must not go to an object that somebody named by mistake."""
    s3 = FakeS3()
    s3.put_object(Bucket=BUCKET, Key="config/prices.yaml", Body=b" " * (MOST_BYTES + 1))

    with pytest.raises(ValueError, match="larger than 8 MB"):
        table_from(f"s3://{BUCKET}/config/prices.yaml", lambda: s3, FakeSecrets)


def test_a_table_that_came_in_part_is_no_table():
    """P55: its last price may have lost its last digits, and read as another one. boto3 does not notice where a bound is given."""
    s3 = FakeS3()
    s3.put_object(Bucket=BUCKET, Key="config/prices.yaml", Body=(TEXT + "#" * (len(TEXT) + 1)).encode())
    s3.misbehave("cut")

    with pytest.raises(OSError, match="in part"):
        table_from(f"s3://{BUCKET}/config/prices.yaml", lambda: s3, FakeSecrets)


def test_a_table_may_lie_in_a_file_in_s3_or_in_a_parameter(tmp_path):
    """P55: the three forms of `HOOKCACHE_PRICES`."""
    s3, secrets = FakeS3(), FakeSecrets()
    s3.put_object(Bucket=BUCKET, Key="config/prices.yaml", Body=TEXT.encode())
    secrets.parameters["/hookcache/prices"] = TEXT
    file = tmp_path / "prices.yaml"
    file.write_text(TEXT)

    for reference in (f"s3://{BUCKET}/config/prices.yaml", "ssm:/hookcache/prices", str(file)):
        table = table_from(reference, lambda: s3, lambda: secrets)
        assert Decimal("0.004") == table.price("lambda_hook/GENAIIDP-cache-mistral", "pages")


def test_a_table_may_lie_in_a_parameter_that_is_encrypted():
    """P55: without being asked to, the store gives the ciphertext."""
    store = FakeSecrets()
    store.get_parameter = lambda **asked: {"Parameter": {"Value": TEXT if asked.get("WithDecryption") else "AQICAHh"}}

    assert table_from("ssm:prices", FakeS3, lambda: store).rows


def test_the_estimate_of_every_hit_is_the_sum_of_its_units():
    """P56: in floating point, to fifteen digits of the decimal sum."""
    units = {unit: count for count, unit in enumerate(OWN_PRICES, 3)} | {
        "lambda_gb_seconds": 0.0000312345678,
        "novel": 9,
    }
    exact = sum(OWN_PRICES[unit] * Decimal(str(count)) for unit, count in units.items() if unit in OWN_PRICES)

    assert float(exact) == pytest.approx(prices().own_estimate(units), rel=1e-14)
    assert 0 == prices().own_estimate({})
