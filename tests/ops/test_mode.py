"""`hookcache mode`: modes by order, without a redeploy."""

import json

import pytest

from fakes import extraction_event, ocr_event
from hookcache_ops import mode
from hookcache_ops.cli import main
from operator_rig import arguments, reach_to


def order(operator, *argv):
    args = arguments(mode, *argv)
    return mode.carry_out(args, mode.command_of(args), reach_to(operator))


def test_an_ordered_mode_holds_everywhere_within_a_minute_until_it_is_taken_back(rig, operator, capsys):
    """P50: `observe` for OCR looks up and never serves; other steps are served; without the order all are."""
    page, extraction = ocr_event(rig.image(b"page")), extraction_event()
    for event in (page, extraction):
        rig.call(event)
    assert 0 == order(operator, "observe", "--context", "OCR")
    rig.clock.advance(60)
    for event in (page, extraction):
        rig.call(event)
    assert 0 == order(operator, "--clear", "--context", "OCR")
    rig.clock.advance(60)
    rig.call(page)

    assert ["miss", "miss", "observe", "hit_memory", "hit_memory"] == rig.outcomes
    assert "Orders for namespace default:\n  OCR: mode observe" in capsys.readouterr().out


def test_a_cache_that_was_switched_off_by_order_can_be_switched_on_again(rig, operator):
    """P50: environments that pass everything through still read the orders once a minute."""
    event = ocr_event(rig.image(b"page"))
    rig.call(event)
    for word in ("off", "on"):
        order(operator, word)
        rig.clock.advance(60)
        rig.call(event)

    assert ["miss", "bypass", "hit_memory"] == rig.outcomes


def test_the_step_comes_before_all_steps(rig, operator):
    """P50: an order for one step stands beside an order for all."""
    order(operator, "off")
    order(operator, "on", "--context", "OCR")
    orders = rig.first.cache.control.orders()

    assert ("on", "off") == (orders.mode("OCR"), orders.mode("Extraction"))


def test_an_order_for_every_step_replaces_those_for_single_steps(rig, operator):
    """P50: `mode off` in an emergency reaches the step that was switched on by itself once; `--clear` leaves no order behind."""
    event = ocr_event(rig.image(b"page"))
    rig.call(event)
    order(operator, "on", "--context", "OCR")
    order(operator, "off")
    rig.clock.advance(60)
    rig.call(event)
    stood = rig.first.cache.control.orders().modes
    order(operator, "observe", "--context", "OCR")
    order(operator, "--clear")
    rig.clock.advance(60)
    rig.call(event)

    assert {"*": "off"} == stood
    assert {} == rig.first.cache.control.orders().modes
    assert ["miss", "bypass", "hit_memory"] == rig.outcomes


def test_show_prints_the_orders_and_changes_nothing(rig, operator, capsys):
    order(operator, "read_only", "--context", "Extraction")
    operator({"command": "invalidate", "context": "OCR", "before_ms": 1000})
    operator({"command": "invalidate", "before_ms": 2000, "soft": True})
    before = dict(rig.dynamodb.items)
    capsys.readouterr()
    assert 0 == order(operator, "--show")
    told = capsys.readouterr().out
    assert 0 == order(operator, "--show", "--json")

    for line in (
        "Extraction: mode read_only",
        "OCR: answers made before 1970-01-01T00:00:01Z are never served",
        "every step: answers made before 1970-01-01T00:00:02Z are served only in place of an error",
    ):
        assert line in told
    assert "within a minute" not in told, "nothing was changed"
    assert {"Extraction": "read_only"} == json.loads(capsys.readouterr().out)["modes"]
    assert before == rig.dynamodb.items


def test_show_finds_orders_that_somebody_else_wrote(rig, operator, capsys):
    """T5: status 1, and what to do about it."""
    order(operator, "observe")
    (control,) = rig.dynamodb.of_kind("CONTROL")
    rig.dynamodb.plant({**control, "orders_tag": {"B": b"\0" * 32}})
    capsys.readouterr()

    assert 1 == order(operator, "--show")
    assert "see who may write" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["on", "--show"], ["--clear", "--show"]])
def test_bad_input_is_one_line_that_names_the_remedy(argv, capsys):
    assert 2 == main(["mode", *argv])
    written = capsys.readouterr().err
    assert "say one of" in written
    assert 1 == written.count("\n")
