"""The operator's orders where somebody damages, takes away or puts back what carries them, or nobody can read it."""

import threading

import pytest

from fakes import CANARY, BackendRaised, answer, refusal, summarization_event
from hookcache import control
from hookcache.control import BackendIdentity, Control, Standing, identity_of
from hookcache.errors import BackendFailed, TierUnavailable
from hookcache.key import CacheKey
from hookcache.orders import Orders
from rig import metric
from simulation.items_double import MemoryItems

EVENT = summarization_event("page")


def kept_and_invalidated(rig):
    """A bad answer was kept and invalidated since, and the backend is down: whoever serves it breaks the order."""
    rig.backend.replies = [answer("Bad.")]
    rig.call(EVENT)
    rig.clock.advance(10)
    before = control_of(rig)
    rig.first.cache.control.amend(lambda orders: orders.invalidated("*", rig.clock.now_ms()))
    rig.backend.handler = lambda event: BackendRaised("Down", "no")
    rig.clock.advance(61)
    return before


def control_of(rig):
    return rig.dynamodb.of_kind("CONTROL")[0]


def is_served(rig, environment):
    try:
        rig.call(EVENT, environment)
    except BackendFailed:
        return False
    return True


def without(item, *names):
    return {name: value for name, value in item.items() if name not in names}


class TestWhatLiesInTheTable:
    """Pinned to the bit: wrappers and erase functions of two releases at once obey each other's orders (P43, P44, F39)."""

    KEY = CacheKey(b"k" * 32)

    def test_identity_and_orders(self, clock):
        """P40, P44: each text, and the tag over it."""
        items = MemoryItems()
        both = Control(items, self.KEY, b"secret", lambda: CONFIGURATION, BackendIdentity(b""), clock)
        both.now()
        both.amend(lambda orders: orders.invalidated("OCR", 17).invalidated("*", 4, soft=True))
        both.amend(lambda orders: orders.with_mode("OCR", "observe").with_generation("2"))

        assert {
            "pk": {"B": self.KEY},
            "kind": {"S": "CONTROL"},
            "identity": {
                "S": '["564e84fb8c36ab48a7917cca41cfe1382c2757b9e3d35db83b24e6ee9276c7a2", "1", null, 1790000000000]'
            },
            "identity_tag": {"B": bytes.fromhex("8adb394e6b27d69b08107c04ea547d393b6adcacd0f2368318ec0fbaab7a95dd")},
            "orders": {
                "S": '{"form": 1, "generation": "2", "modes": {"OCR": "observe"}, "not_before_ms": {"OCR": 17}, '
                '"stale_before_ms": {"*": 4}}'
            },
            "orders_tag": {"B": bytes.fromhex("a017f7526fe38c67f629a3931f3987f9be4343366e9224aad7fce710fe379a63")},
        } == items.stored[self.KEY, "CONTROL"]


DAMAGE = {
    "another text": lambda item, before: item | {"orders": {"S": "{}"}},
    "no orders": lambda item, before: without(item, "orders", "orders_tag"),
    "no tag": lambda item, before: without(item, "orders_tag"),
    "no members": lambda item, before: {name: item[name] for name in ("pk", "kind")},
}


class TestAnInvalidationThatWasSeen:
    @pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
    def test_is_not_undone_by_who_can_write_the_table(self, rig, change):
        """P44, T5: damaged or taken away, it holds where it is known, and an alarm is counted."""
        before = kept_and_invalidated(rig)
        assert not is_served(rig, rig.first)
        rig.dynamodb.plant(change(control_of(rig), before))
        rig.clock.advance(61)

        assert not is_served(rig, rig.first)
        assert [1] == rig.last["CorruptEntries"]

    def test_is_not_undone_by_older_orders_that_are_put_back(self, rig):
        """P44, T5: they are sealed as well as any, and no tag tells when."""
        rig.first.cache.control.amend(lambda orders: orders.with_mode("*", "on"))
        before = kept_and_invalidated(rig)
        assert not is_served(rig, rig.first)
        rig.dynamodb.plant(before)
        rig.clock.advance(61)

        assert not is_served(rig, rig.first)

    def test_control_an_invalidation_that_never_was_hides_nothing(self, rig):
        """Control: what the tests above hold back is served without the order."""
        before = kept_and_invalidated(rig)
        rig.dynamodb.plant(before)

        assert is_served(rig, rig.cold_start())


class TestOrdersThatWereNeverSeen:
    @pytest.mark.parametrize("change", [DAMAGE["another text"], DAMAGE["no tag"]], ids=["another text", "no tag"])
    def test_an_environment_that_starts_over_damaged_orders_serves_nothing_that_was_kept(self, rig, change):
        """P44, T5: what they said is not known; the alarm tells the operator to give them again."""
        before = kept_and_invalidated(rig)
        rig.dynamodb.plant(change(control_of(rig), before))

        assert not is_served(rig, rig.cold_start())
        assert [1] == rig.last["CorruptEntries"]

    def test_damaged_orders_are_told_as_such_until_any_order_is_given(self, rig):
        """T5, P58: the table is well, and whoever looks for its trouble would find none."""
        rig.call(EVENT)
        rig.clock.advance(10)
        rig.dynamodb.plant(control_of(rig) | {"orders": {"S": "{}"}})
        started = rig.cold_start()
        rig.call(EVENT, started)
        told = rig.last
        started.cache.control.amend(lambda orders: orders.with_mode("*", None))
        rig.clock.advance(2)
        rig.call(EVENT, started)

        assert ("bypass", "orders_unreadable", 0) == (told["outcome"], told["reason"], metric(told, "TableErrors"))
        assert "hit_table" == rig.last["outcome"]

    @pytest.mark.parametrize(("ordered", "kept"), [("read_only", 0), ("off", 0), ("on", 1)])
    def test_nothing_is_kept_before_they_are_known(self, rig, ordered, kept):
        """P50: they may forbid it. One refused look at a cold start, and one second later they are known; `on` is the control."""
        rig.first.cache.control.amend(lambda orders: orders.with_mode("*", ordered))
        started, refused = rig.cold_start(), []

        def refuse_one_look(operation, arguments):
            if operation == "get_item" and arguments["Key"]["kind"]["S"] == "CONTROL" and not refused:
                refused.append(operation)
                raise refusal("ThrottlingException", "slow down", operation)

        rig.dynamodb.before = refuse_one_look
        rig.call(EVENT, started)

        assert ([], [], ["get_item"]) == (rig.entries, rig.dynamodb.of_kind("LEASE"), refused)
        assert ("bypass", "table_down") == (rig.last["outcome"], rig.last["reason"])

        rig.clock.advance(2)
        rig.call(EVENT, started)
        assert kept == len(rig.entries)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '{"form": 2, "generation": null, "not_before_ms": {}, "modes": {}}',
            '{"generation": null, "not_before_ms": 5, "modes": {}}',
            '{"generation": null, "not_before_ms": {}, "modes": 5}',
            '{"generation": null, "not_before_ms": {"*": null}, "modes": {}}',
            '{"generation": null, "not_before_ms": {"*": Infinity}, "modes": {}}',
        ],
    )
    def test_orders_of_another_form_are_none_that_are_known(self, rig, text):
        """P44, P18: sealed by a version of ours that says more; what was kept may be what they invalidate."""
        rig.call(EVENT)
        rig.first.cache.control._write("orders", text)
        rig.clock.advance(1)
        rig.call(EVENT, rig.cold_start())

        assert ("bypass", "orders_unreadable", 1) == (
            rig.last["outcome"],
            rig.last["reason"],
            metric(rig.last, "CorruptEntries"),
        )
        assert (Orders(), True) == rig.first.cache.control.sealed_orders()

    def test_the_identity_is_not_told_before_they_are_known(self, rig):
        """P50: an order of `read_only` or `off` forbids that as well."""
        rig.call(EVENT)
        rig.dynamodb.plant(DAMAGE["no tag"](control_of(rig) | {"orders": {"S": "{}"}}, None))
        rig.clock.advance(61)
        told = control_of(rig)["identity"]
        rig.call(EVENT, rig.cold_start())

        assert told == control_of(rig)["identity"]
        assert 2 == rig.backend.described


CONFIGURATION = {
    "FunctionArn": "arn",
    "Version": "1",
    "CodeSha256": "code",
    "ConfigSha256": "config",
    "RevisionId": "r",
}


class TestWhoTheBackendIs:
    @pytest.mark.parametrize("member", ["FunctionArn", "Version", "CodeSha256", "ConfigSha256"])
    def test_each_part_counts(self, member):
        """P40: qualified ARN, version, code and configuration; the same again is the same."""
        changed = CONFIGURATION | {member: "another"}

        assert identity_of(CONFIGURATION).digest == identity_of(dict(CONFIGURATION)).digest
        assert identity_of(CONFIGURATION).digest != identity_of(changed).digest

    @pytest.mark.parametrize(("digest", "counts"), [("config", False), (None, True)])
    def test_the_revision_counts_where_no_digest_is_told(self, digest, counts):
        """P40: it changes with every update, so it counts nowhere else: a rollback is to hit again."""
        one = CONFIGURATION | {"ConfigSha256": digest}

        assert counts == (identity_of(one).digest != identity_of(one | {"RevisionId": "r2"}).digest)

    def test_lambda_is_asked_once_a_minute_however_often_the_table_is(self, rig):
        """P40: the control plane's quota is low, and without orders an environment looks for them each second."""
        rig.dynamodb.misbehave(refusal("AccessDeniedException"), operation="get_item", kind="CONTROL")
        rig.backend.describe_error = refusal("AccessDeniedException")
        for _ in range(5):
            rig.call(EVENT)
            rig.clock.advance(2)
        asked = rig.backend.described
        rig.clock.advance(60)
        rig.call(EVENT)

        assert (1, 2) == (asked, rig.backend.described)

    @pytest.mark.parametrize(
        ("status", "known"), [(None, True), ("Successful", True), ("InProgress", False), ("Failed", False)]
    )
    def test_a_backend_that_is_being_updated_is_nobody_yet(self, status, known):
        """P40: the reply names the new code while the code before answers."""
        told = CONFIGURATION | ({"LastUpdateStatus": status} if status else {})
        if known:
            assert identity_of(CONFIGURATION) == identity_of(told)
        else:
            with pytest.raises(ValueError, match="being updated"):
                identity_of(told)

    @pytest.mark.parametrize(("seconds", "outcome"), [(3_500, "hit_table"), (3_700, "bypass")])
    def test_what_another_resolved_within_the_hour_will_do_where_lambda_fails(self, rig, seconds, outcome):
        """P40: also for an environment that never knew it itself."""
        rig.call(EVENT)
        rig.clock.advance(seconds)
        rig.backend.describe_error = refusal("TooManyRequestsException")
        rig.call(EVENT, rig.cold_start())

        assert outcome == rig.last["outcome"]

    @pytest.mark.parametrize("text", ["", "null", "[]", '["zz", "1", 3, 0]', '["00", "1", 3, null]', "{}"])
    def test_an_identity_that_cannot_be_read_is_resolved_anew(self, rig, text):
        """P18, P40: sealed by a version of ours that spelt it otherwise."""
        rig.call(EVENT)
        rig.first.cache.control._write("identity", text)
        rig.call(EVENT, rig.cold_start())

        assert ("hit_table", 2) == (rig.last["outcome"], rig.backend.described)

    def test_the_table_is_asked_once_a_minute(self, rig):
        """P40, P56: not once for each request."""
        for _ in range(5):
            rig.call(EVENT)
            rig.clock.advance(5)

        assert 1 == [asked["Key"]["kind"]["S"] for name, asked in rig.dynamodb.calls if name == "get_item"].count(
            "CONTROL"
        )

    def test_lambda_that_does_not_answer_holds_nobody_up(self, rig, monkeypatch):
        """P18, P40: the bound is on the whole, and no timeout of a client's has to end it."""
        monkeypatch.setattr(control, "DESCRIBE_SECONDS", 0.01)
        answered, given = threading.Event(), []
        monkeypatch.setattr(rig.backend, "get_function_configuration", lambda **_: given.append(answered.wait(20)))
        rig.call(EVENT)
        waited_for = list(given)
        answered.set()

        assert ("bypass", "backend_unknown", []) == (rig.last["outcome"], rig.last["reason"], waited_for)


class TestAClockThatIsSetBack:
    def test_hides_no_order(self, rig):
        """P44, P50: what was looked at an hour from now was not looked at within the minute."""
        rig.call(EVENT)
        rig.second.cache.control.amend(lambda orders: orders.with_mode("*", "observe"))
        rig.clock.set_back(3_600)
        rig.call(EVENT)

        assert "observe" == rig.last["outcome"]

    @pytest.mark.parametrize("environment", ["first", "second"], ids=["resolved here", "resolved by another"])
    def test_hides_no_deployment(self, rig, environment):
        """P40: nor does what was resolved an hour from now say who answers today."""
        rig.call(EVENT)
        rig.backend.deploy(code="code-2")
        rig.clock.set_back(3_600)
        rig.call(EVENT, getattr(rig, environment))

        assert ("miss", 2) == (rig.last["outcome"], rig.backend.described)

    @pytest.mark.parametrize(("back", "outcome"), [(3_600, "bypass"), (0, "hit_memory")], ids=["promise", "control"])
    def test_does_not_stretch_the_hour_of_the_last_known_identity(self, rig, back, outcome):
        """P40: nobody can say how old it is; the control is a clock that goes on."""
        rig.call(EVENT)
        rig.clock.advance(61)
        rig.backend.describe_error = refusal("TooManyRequestsException")
        rig.clock.set_back(back)
        rig.call(EVENT)

        assert outcome == rig.last["outcome"]


@pytest.mark.parametrize(
    ("identity", "orders", "left_behind"),
    [
        (b"a", Orders(), False),
        (b"a", Orders(modes={"OCR": "observe"}), False),
        (b"a", Orders(not_before_ms={"Extraction": 7}, stale_before_ms={"Extraction": 7}), False),
        (b"b", Orders(), True),
        (b"a", Orders(generation="2"), True),
        (b"a", Orders(not_before_ms={"OCR": 7}), True),
        (b"a", Orders(stale_before_ms={"*": 7}), True),
    ],
)
def test_what_was_judged_is_left_behind_with_what_can_no_longer_be_served(identity, orders, left_behind):
    """P44, P59: another backend, generation or invalidation of the context; a mode or another context's changes nothing."""
    before, after = Standing(BackendIdentity(b"a"), Orders()), Standing(BackendIdentity(identity), orders)

    assert left_behind == (before.era("OCR") != after.era("OCR"))


def test_orders_are_changed_as_they_stand(rig):
    """P44: an eventual read could show those before, and the change would be refused at every try."""
    rig.call(EVENT)
    rig.dynamodb.calls.clear()
    rig.first.cache.control.amend(lambda orders: orders.with_mode("*", "observe"))
    rig.first.cache.control.orders()

    assert [True, True] == [asked["ConsistentRead"] for name, asked in rig.dynamodb.calls if name == "get_item"]


@pytest.mark.parametrize(("others", "done"), [(4, True), (5, False)])
def test_of_two_operators_neither_loses_an_order(rig, others, done):
    """P44: whoever met another's change makes its own on top of it, or says that it is not made."""
    rig.call(EVENT)
    ours, theirs, left = rig.first.cache.control, rig.second.cache.control, list(range(others))

    def meanwhile(operation, arguments):
        if operation == "update_item" and left:
            number, rig.dynamodb.before = left.pop(), lambda *_: None
            theirs.amend(lambda orders: orders.invalidated("OCR", 1_000 - number).with_mode("OCR", "observe"))
            rig.dynamodb.before = meanwhile

    rig.dynamodb.before = meanwhile
    if done:
        told = ours.amend(lambda orders: orders.with_generation("2"))
        assert Orders("2", {"OCR": 1_000}, {"OCR": "observe"}) == told == theirs.orders()
    else:
        with pytest.raises(TierUnavailable, match="run the command again"):
            ours.amend(lambda orders: orders.with_generation("2"))
        assert theirs.orders().generation is None


def test_orders_for_another_backend_are_none_here(rig):
    """T5: they are sealed as well, and a table's writer could put them in our place."""
    other = rig.cold_start(HOOKCACHE_BACKEND="GENAIIDP-other")
    other.cache.control.amend(lambda orders: orders.with_mode("*", "off"))
    theirs, started = control_of(rig), rig.cold_start()
    rig.dynamodb.plant(theirs | {"pk": {"B": started.cache.control._key}})
    rig.call(EVENT, started)

    assert ("bypass", "orders_unreadable", 1) == (
        rig.last["outcome"],
        rig.last["reason"],
        metric(rig.last, "CorruptEntries"),
    )


def test_nothing_of_the_backends_environment_is_kept(rig):
    """T13: Lambda shows it with the configuration; the table gets a digest, the version and the time limit."""
    rig.call(EVENT)
    shown = rig.backend.get_function_configuration()

    assert CANARY in str(shown)
    assert str(shown["Timeout"]) in str(control_of(rig))
    assert not any(word in str(control_of(rig)) for word in (CANARY, "API_KEY", shown["CodeSha256"]))
