"""Control of a single call by its client context, and the marks that break loops."""

import base64
import functools
import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from fakes import client_context, client_context_of
from hookcache.errors import LoopDetected
from hookcache.percall import MAX_AGE_LIMIT_SECONDS, CallControl, call_control, hops, onward, refuse_loop, says_more


def told(wishes):
    return SimpleNamespace(client_context=SimpleNamespace(custom={"hookcache": wishes}))


@pytest.mark.parametrize(
    "context",
    [
        None,
        SimpleNamespace(),
        SimpleNamespace(client_context=None),
        SimpleNamespace(client_context={}),
        SimpleNamespace(client_context=SimpleNamespace(custom=None)),
        SimpleNamespace(client_context=SimpleNamespace(custom="text")),
        SimpleNamespace(client_context={"custom": {}}),
    ],
    ids=range(7),
)
def test_a_call_without_wishes(context):
    """P51: the host sends no client context at all; that is the usual case."""
    assert CallControl() == call_control(context)
    assert () == hops(context)


def test_wishes_that_are_understood():
    """P51, S56: refresh, bypass, a lower maximum age, a rollout."""
    context = SimpleNamespace(
        client_context=client_context(refresh=True, bypass=False, max_age_seconds=60, rollout="blue-2")
    )

    assert CallControl(True, False, 60.0, "blue-2", 0) == call_control(context)


def test_no_age_at_all_is_an_age():
    """P51: zero seconds, which is none that was kept."""
    assert CallControl(max_age_seconds=0.0) == call_control(told({"max_age_seconds": 0}))


def test_wishes_may_come_as_text():
    """P51: mobile SDKs send strings; so may a caller."""
    assert CallControl(bypass=True) == call_control(told(json.dumps({"bypass": True})))


@pytest.mark.parametrize(
    "wishes",
    [
        {"refresh": "yes"},
        {"refresh": 1},
        {"bypass": None},
        {"max_age_seconds": 10**12},
        {"max_age_seconds": -1},
        {"max_age_seconds": float("nan")},
        {"max_age_seconds": True},
        {"max_age_seconds": "60"},
        {"rollout": ""},
        {"rollout": "a/b"},
        {"rollout": "x" * 65},
        {"rollout": "blue\n"},
        {"rollout": 7},
        {"namespace": "tenant-b"},
        {"generation": "7"},
        {"mode": "off"},
        {"": {}},
        "not json",
        "[" * 3_000,
        "7",
        7,
        [],
        None,
    ],
    ids=lambda wishes: repr(wishes)[:40],
)
def test_wishes_that_are_not_understood_are_ignored_and_counted(wishes):
    """P51, B21, S57, S17: bad JSON, maximum age 10^12, another namespace: no effect, one counted."""
    assert CallControl(ignored=1) == call_control(told(wishes))


def test_one_bad_wish_leaves_the_good_ones():
    """P51, B21: each is judged by itself."""
    control = call_control(
        told({"refresh": True, "rollout": "?", "novel": 1, "max_age_seconds": MAX_AGE_LIMIT_SECONDS})
    )

    assert CallControl(True, False, float(MAX_AGE_LIMIT_SECONDS), "", 2) == control


CIRCLE: dict[str, object] = {}
CIRCLE["x"] = CIRCLE
DEEP = functools.reduce(lambda inner, _: {"x": inner}, range(100_000), {})


class TestHops:
    @pytest.mark.parametrize(
        ("marks", "seen"),
        [
            ("a,b", ("a", "b")),
            (["a", "b", 5], ("a", "b")),
            (5, ()),
            ({"a": 1}, ()),
            (None, ()),
            ("a,,b c,d\n," + "x" * 65, ("a",)),
        ],
    )
    def test_marks_are_read_in_any_form(self, marks, seen):
        """B21: a forged mark can refuse a call and nothing else."""
        context = SimpleNamespace(client_context={"custom": {"hookcache_hops": marks}})

        assert seen == hops(context)

    def test_our_mark_joins_the_callers(self):
        """F40, P51: the backend sees the caller's own context and our mark, but no wish meant for us."""
        custom = {"hookcache": {"refresh": True}, "hookcache_hops": "first", "trace": "t-1"}
        sent = onward(SimpleNamespace(client_context=SimpleNamespace(custom=custom)), "second")

        assert {"custom": {"trace": "t-1", "hookcache_hops": "first,second"}} == client_context_of(
            {"ClientContext": sent}
        )

    @pytest.mark.parametrize(
        ("size", "marks"),
        [(10, "first,second"), (2_630, "first,second"), (2_636, "second"), (2_643, None), (2_666, None)],
    )
    def test_what_the_caller_says_goes_on_whole_and_the_marks_as_far_as_there_is_room(self, size, marks):
        """F40, P5: 3,583 bytes of base64 at most. A backend may answer by what is said there, and by no mark."""
        said = {"x": "y" * size}
        sent = onward(SimpleNamespace(client_context={"custom": said | {"hookcache_hops": "first"}}), "second")

        assert len(sent) <= 3_583
        assert (
            said | ({"hookcache_hops": marks} if marks else {}) == client_context_of({"ClientContext": sent})["custom"]
        )

    @pytest.mark.parametrize(
        "said",
        [{"x": "y" * 100_000}, {"x": "y" * 2_667}, {"x": object()}, CIRCLE, DEEP],
        ids=["too long", "a byte too long", "no JSON", "a circle", "deep"],
    )
    def test_what_no_caller_can_have_sent_is_left_out(self, said):
        """F40, P18: the call is made, under our mark."""
        sent = onward(SimpleNamespace(client_context={"custom": said}), "GENAIIDP-cache")

        assert {"hookcache_hops": "GENAIIDP-cache"} == client_context_of({"ClientContext": sent})["custom"]

    @pytest.mark.parametrize("said", ["ä" * 1_200, "\n" * 1_200], ids=["umlauts", "lines"])
    def test_what_fits_is_not_made_longer_than_the_caller_spelt_it(self, said):
        """P5, P51: spelt otherwise it would no longer fit, and be left out; line breaks are no base64."""
        sent = onward(SimpleNamespace(client_context={"custom": {"x": said}}), "m")

        assert {"x": said, "hookcache_hops": "m"} == client_context_of({"ClientContext": sent})["custom"]
        assert sent == sent.strip()

    @pytest.mark.parametrize(("mark", "loops"), [("first", True), ("third", False), ("", False)])
    def test_a_call_that_came_through_us_goes_no_further(self, mark, loops):
        """F40: and without a mark of ours no loop can be seen."""
        context = SimpleNamespace(client_context={"custom": {"hookcache_hops": "first,second"}})
        with pytest.raises(LoopDetected) if loops else nullcontext():
            refuse_loop(context, mark)

    def test_every_member_of_a_client_goes_on(self):
        """P2, P5: a backend may answer by any of those that the runtime knows, or that its JSON had."""
        names = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")
        client = {name: f"its {name}" for name in names}
        for spelt in (client, SimpleNamespace(**client)):
            sent = onward(SimpleNamespace(client_context={"client": spelt}), "m")
            assert client == client_context_of({"ClientContext": sent})["client"]
        sent = onward(SimpleNamespace(client_context={"client": {"locale": "de"}}), "m")
        assert {"locale": "de"} == client_context_of({"ClientContext": sent})["client"]

    @pytest.mark.parametrize("text", ["Zürich 10 €", "half a character: \ud800"])
    def test_other_members_of_the_client_context_go_on_as_well(self, text):
        """P2, P5: such a request is bypassed because the backend may answer by them: so it must have them."""
        client = SimpleNamespace(app_title=text, installation_id=None)  # as the runtime makes it of the caller's JSON
        sent = onward(
            SimpleNamespace(client_context=SimpleNamespace(custom=None, env={"tenant": text}, client=client)), "m"
        )

        expected = {"env": {"tenant": text}, "client": {"app_title": text}, "custom": {"hookcache_hops": "m"}}
        assert expected == client_context_of({"ClientContext": sent})

    def test_a_number_past_all_floats_goes_on_as_one(self):
        """B21, B4, P5: `1e999` is JSON, and what Python makes of it is not: a strict runtime would end the call."""
        sent = base64.b64decode(onward(SimpleNamespace(client_context={"env": {"n": float("inf")}}), "m"))

        assert b'{"env":{"n":1e999},"custom":{"hookcache_hops":"m"}}' == sent

    @pytest.mark.parametrize("custom", ["de", ["de"], 1, 0, False])
    @pytest.mark.parametrize("kind", [dict, SimpleNamespace], ids=["mapping", "object"])
    def test_a_custom_member_that_is_no_object_goes_on_as_it_is(self, custom, kind):
        """P2, P5: the call is bypassed for it, and the backend got our mark in its place."""
        sent = onward(SimpleNamespace(client_context=kind(custom=custom)), "m")

        assert {"custom": custom} == client_context_of({"ClientContext": sent})

    def test_nought_goes_on_like_any_other_value(self):
        """P2: the call is bypassed for it, so the backend must have it."""
        sent = onward(SimpleNamespace(client_context={"env": 0, "client": {"app_title": 0}}), "m")

        assert {"env": 0, "client": {"app_title": 0}, "custom": {"hookcache_hops": "m"}} == client_context_of(
            {"ClientContext": sent}
        )

    def test_marks_do_not_grow_without_bound(self):
        """F40, T9: the latest 16 and ours."""
        context = SimpleNamespace(client_context={"custom": {"hookcache_hops": [str(n) for n in range(100)]}})

        marks = client_context_of({"ClientContext": onward(context, "us")})["custom"]["hookcache_hops"].split(",")

        assert [*(str(n) for n in range(84, 100)), "us"] == marks

    def test_forged_marks_do_not_make_the_client_context_too_long(self):
        """B21, F40: Lambda would refuse the backend's invocation for it."""
        forged = ["x" * 64] * 30 + ["\u00e9" * 400] * 3
        sent = onward(SimpleNamespace(client_context={"custom": {"hookcache_hops": forged}}), "GENAIIDP-cache")

        assert len(sent) <= 3_583


SILENT = {"hookcache": {"refresh": True}, "hookcache_hops": "a", "hookcache_stream": True, "x-datadog-trace-id": "1"}


@pytest.mark.parametrize(
    ("told", "more"),
    [
        ({}, False),
        ({"client_context": None, "identity": SimpleNamespace(cognito_identity_id=None), "tenant_id": None}, False),
        ({"client_context": {"custom": SILENT}}, False),
        ({"client_context": SimpleNamespace(custom=SILENT, client=None, env=None)}, False),
        (
            {"client_context": {"custom": {"traceparent": "00-1-2-01", "TraceState": "x", "b3": "0"}, "w3c": {"a": 1}}},
            False,
        ),
        ({"client_context": {"custom": {"language": ""}, "env": {}}}, False),
        ({"client_context": {"custom": {"language": "de"}}}, True),
        ({"client_context": SimpleNamespace(custom=SILENT | {"language": "de"})}, True),
        ({"client_context": {"custom": {"hookcaches": 1}}}, True),
        ({"client_context": {"custom": {"temperature": 0}}}, True),
        ({"client_context": {"custom": {"brief": False}}}, True),
        ({"client_context": {"custom": {"client": ""}, "client": {"app_title": "reader"}}}, True),
        ({"client_context": {"custom": "de"}}, True),
        ({"client_context": {"custom": 0}}, True),
        ({"client_context": {"custom": []}}, False),
        ({"client_context": SimpleNamespace(custom={}, env={"locale": "de_DE"})}, True),
        ({"client_context": SimpleNamespace(custom=None, env=None, client=None)}, False),
        ({"client_context": SimpleNamespace(custom=None, client=SimpleNamespace(app_title="reader"))}, True),
        ({"client_context": {"client": {"app_title": "reader"}}}, True),
        ({"identity": SimpleNamespace(cognito_identity_id="eu-west-1:1")}, True),
        ({"tenant_id": "tenant-b"}, True),
    ],
    ids=range(21),
)
def test_what_else_a_caller_says_by_which_a_backend_may_answer(told, more):
    """P2: it is in no key. Marks of ours and of tracers, new with each call, are nothing that an answer goes by."""
    assert more is says_more(SimpleNamespace(**told))
