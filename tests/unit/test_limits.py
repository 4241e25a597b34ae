"""Times that do not fit into one another are warned of."""

import logging
import math

import pytest

from fakes import FakeClock, FakeContext, answer, ocr_event
from hookcache.backend import CallableBackend
from hookcache.clock import Deadline
from hookcache.control import BackendIdentity
from hookcache.limits import TimeLimits


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "hookcache"]


class TestWarnings:
    @pytest.mark.parametrize(
        ("seconds", "settings", "timeout", "told"),
        [
            (300, {}, 120, []),
            (300, {}, 299, []),
            (300, {}, 300, ["the backend may run 300 s, and this function is stopped after 300 s"]),
            (299.991, {}, 300, ["the backend may run 300 s, and this function is stopped after 300 s"]),
            (299.991, {}, 299, []),
            (300, {}, 900, ["the backend may run 900 s"]),
            (839, {}, 120, []),
            (840, {}, 120, ["this function may run 840 s, and the host stops waiting after 840 s"]),
            (46, {}, 30, ["a second caller waits 45 s, and this function is stopped after 46 s"]),
            (47, {}, 30, []),
            (300, {"HOOKCACHE_WAIT_SECONDS": "300"}, 120, ["a second caller waits 300 s"]),
            (900, {"HOOKCACHE_IDENTITY": "pinned"}, 900, ["this function may run 900 s"]),
        ],
        ids=str,
    )
    def test_times_that_do_not_fit_are_warned_of(self, make_rig, caplog, seconds, settings, timeout, told):
        """P52: as the doctor judges them, and once in an environment, however many requests it answers."""
        rig = make_rig(**settings)
        rig.backend.timeout = timeout
        for page in range(3):
            rig.call(ocr_event(text=f"page {page}"), seconds=seconds)
        said = warnings(caplog)

        assert len(told) == len(said), said
        assert all(line.startswith(begin) for line, begin in zip(said, told, strict=True))

    def test_what_each_says_names_the_remedy(self, make_rig, caplog):
        """P52, P36: seconds and settings, nothing else."""
        rig = make_rig(HOOKCACHE_WAIT_SECONDS="600")
        rig.backend.timeout = 900
        rig.call(ocr_event(), seconds=60)

        waits, backend = warnings(caplog)

        assert waits == (
            "a second caller waits 600 s, and this function is stopped after 60 s; "
            "set HOOKCACHE_WAIT_SECONDS below 59, or raise the timeout"
        )
        assert backend == (
            "the backend may run 900 s, and this function is stopped after 60 s: late answers are paid and lost; "
            "give it at least 5 s more than its backend, below 840 s"
        )

    def test_the_first_invocation_tells_and_no_other_is_asked(self, make_rig, caplog):
        """P52: an invocation of less time, as a test event may have it, changes nothing; hits ask for nothing at all."""
        rig = make_rig()
        rig.call(ocr_event())
        asked = []
        context = FakeContext(rig.clock, 10.0)
        told = type("Told", (), {"get_remaining_time_in_millis": lambda _: asked.append(1) or 10_000})()
        told.aws_request_id, told.invoked_function_arn = context.aws_request_id, context.invoked_function_arn
        rig.invocations += 1
        rig.listen()
        rig.first.hook(ocr_event(), told)

        assert ("hit_memory", [], []) == (rig.last["outcome"], asked, warnings(caplog))
        assert 300 == rig.first.assembly.limits.own_seconds

    def test_an_operator_who_wants_errors_only_is_not_warned(self, make_rig, caplog):
        """P52: `POWERTOOLS_LOG_LEVEL` silences these as it does those of a start."""
        logger = logging.getLogger("hookcache")
        before = logger.level
        try:
            make_rig(POWERTOOLS_LOG_LEVEL="ERROR").call(ocr_event(), seconds=30)
        finally:
            logger.setLevel(before)
        assert [] == warnings(caplog)

    def test_a_handler_of_this_process_is_its_own_backend(self, make_rig, caplog):
        """P52: there is no second timeout; a follower's wait may still be too long."""
        rig = make_rig()
        rig.listen()
        hook = rig.first.assembly.hook(CallableBackend(lambda event, context: answer("read")), BackendIdentity(b"own"))
        hook(ocr_event(), FakeContext(rig.clock, 30.0))
        rig.invocations += 1

        assert ["a second caller waits 45 s, and this function is stopped after 30 s"] == [
            line.split(";")[0] for line in warnings(caplog)
        ]

    @pytest.mark.parametrize("context", [None, FakeContext(FakeClock(), 0.0)], ids=["no clock", "no time"])
    def test_a_context_that_cannot_tell_tells_nothing(self, context, caplog):
        """P21, P52: outside Lambda nobody stops anything."""
        limits = TimeLimits({}, 45)
        limits.began(Deadline(context))
        limits.before(300)

        assert ([], math.inf) == (warnings(caplog), limits.own_seconds)
