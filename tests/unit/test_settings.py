"""The environment: typed and cross-checked once, refused with a message that names the setting."""

import json
import logging

import pytest

from fakes import ACCOUNT, BACKEND, WRAPPER
from hookcache.errors import ConfigurationError
from hookcache.policy import DAY_SECONDS, Mode
from hookcache.request import METERED_CONTEXTS
from hookcache.settings import Settings
from rig import ENVIRONMENT

MONTH = 30 * DAY_SECONDS


def of(**changes):
    environ = {**ENVIRONMENT, **changes}
    return Settings.of({name: value for name, value in environ.items() if value is not None})


def refused(**changes) -> str:
    with pytest.raises(ConfigurationError) as caught:
        of(**changes)
    return str(caught.value)


def policy(**contexts):
    return {"HOOKCACHE_POLICY": json.dumps(contexts)}


class TestEachVariable:
    def test_defaults_are_those_of_the_documentation(self):
        """P52: what a variable is when nobody sets it."""
        settings = Settings.of({"HOOKCACHE_TABLE": "table", "HOOKCACHE_SECRET": "x"})

        assert ("default", "0", Mode.ON, "auto") == (
            settings.namespace,
            settings.generation,
            settings.mode,
            settings.identity,
        )
        assert (7 * DAY_SECONDS, 64 * 1024 * 1024, 300, 30, 45) == (
            settings.fresh_seconds,
            settings.memory_bytes,
            settings.memory_seconds,
            settings.lease_seconds,
            settings.wait_seconds,
        )
        assert ("", (), {}, "", "") == (
            settings.overflow_bucket,
            settings.image_prefixes,
            settings.policy,
            settings.prices,
            settings.price_as,
        )

    @pytest.mark.parametrize(
        ("name", "low", "high", "below", "above"),
        [
            ("FRESH_SECONDS", "1", str(MONTH), "0", str(MONTH + 1)),
            ("MEMORY_BYTES", "1", str(10 * 1024**3), "0", str(10 * 1024**3 + 1)),
            ("MEMORY_SECONDS", "0.001", str(7 * DAY_SECONDS), "0", str(MONTH + 1)),
            ("LEASE_SECONDS", "0.3", "900", "0.29", "901"),
            ("WAIT_SECONDS", "0.001", "600", "0", "601"),
        ],
    )
    def test_numbers_are_bounded_on_both_sides(self, name, low, high, below, above):
        """P52, B22, S33: zero, negative and huge lifetimes are refused by name; their bounds are allowed."""
        variable = f"HOOKCACHE_{name}"
        for value in (low, high):
            assert float(value) == getattr(of(**{variable: value}), name.lower())
        for value in (below, above, "-1", "x", "nan", "inf", "1e999", "\u00b2", "1 s"):
            assert refused(**{variable: value}).startswith(variable)

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            (
                "TABLE",
                ["abc", "hookcache-table", f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/x"],
                ["", "ab", None, "x" * 1012],
            ),
            (
                "NAMESPACE",
                ["default", "tenant-7", "a.b_c", "x" * 64],
                ["a/b", "a b", "a\n", "x" * 65, "caf\u00e9", "a#b", "a:b"],
            ),
            ("GENERATION", ["0", "2026-11"], ["a/b", "0\n"]),
            ("MODE", [mode.value for mode in Mode], ["ON", "yes", "readonly"]),
            ("IDENTITY", ["auto", "pinned"], ["none", "AUTO"]),
            (
                "OVERFLOW_BUCKET",
                ["", "hookcache-overflow", "a.b.c"],
                ["s3://bucket", "Bucket", "a/b", "-ab", "bucket\n"],
            ),
            (
                "IMAGE_PREFIXES",
                ["", "s3://bucket/temp", "s3://b-1/, s3://b-2/x ,"],
                ["bucket/temp", "https://b/x", "s3://", "s3://B/x", "s3://bucket/a\\b", "s3://*/x"],
            ),
            (
                "POLICY",
                ["", "{}", '{"*": {}}', '{"OCR": {"mode": "off"}}'],
                ["[]", "x", '{"ocr": {}}', '{"OCR": 5}', '{"OCR": {"novel": 1}}', "[" * 9_999],
            ),
        ],
    )
    def test_texts_are_checked(self, name, good, bad):
        """P7, P52, B22: namespaces with separators, unknown words, malformed places; the message names the variable."""
        variable = f"HOOKCACHE_{name}"
        for value in good:
            assert of(**{variable: value}) is not None
        for value in bad:
            assert refused(**{variable: value}).startswith(variable)

    def test_places_of_images_are_split(self):
        """P42: comma separated, spaces and empty parts dropped."""
        assert ("s3://b-1/", "s3://b-2/x") == of(HOOKCACHE_IMAGE_PREFIXES="s3://b-1/, s3://b-2/x ,").image_prefixes

    def test_an_empty_variable_is_one_that_is_not_set(self):
        """B22: that is how CloudFormation spells a parameter that nobody gave."""
        names = ("NAMESPACE", "GENERATION", "MODE", "FRESH_SECONDS", "POLICY", "IDENTITY", "PRICES")

        assert of() == of(**{f"HOOKCACHE_{name}": "" for name in names})

    @pytest.mark.parametrize("secret", [None, "", " ", "\n"], ids=repr)
    def test_a_hook_without_a_secret_does_not_start(self, secret):
        """P37, B22: an empty secret is refused, with the settings' names; so is a name of one that is blank."""
        assert "HOOKCACHE_SECRET" in refused(HOOKCACHE_SECRET_ARN=None, HOOKCACHE_SECRET=secret)
        assert "HOOKCACHE_SECRET_ARN" in refused(HOOKCACHE_SECRET_ARN=secret, HOOKCACHE_SECRET=None)

    def test_a_local_secret_will_do(self):
        """P37: for local use, from the environment; it is not shown."""
        settings = of(HOOKCACHE_SECRET_ARN=None, HOOKCACHE_SECRET="hush hush")

        assert "hush hush" == settings.secret
        assert "hush" not in repr(settings)

    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("FRESH_SECONDS", "2592001", "from 1 to 2592000"),
            ("MEMORY_BYTES", "0", "from 1 to 10737418240"),
            ("MEMORY_SECONDS", "1000000", "MEMORY_SECONDS: 1000000 must not pass"),
            ("LEASE_SECONDS", "0.1", "from 0.3 to 900"),
        ],
    )
    def test_a_bound_is_told_in_full(self, name, value, told):
        """P52: to be typed as it is read, so not as 2.592e+06."""
        assert told in refused(**{f"HOOKCACHE_{name}": value})

    def test_no_refusal_shows_a_value(self):
        """P36: a secret put into the wrong variable stays out of the log."""
        for name in ("FRESH_SECONDS", "NAMESPACE", "MODE", "IMAGE_PREFIXES", "POLICY", "OVERFLOW_BUCKET", "BACKEND"):
            assert "hush" not in refused(**{f"HOOKCACHE_{name}": "hush hush!"})

    def test_an_unknown_variable_is_named_and_ignored(self, caplog):
        """B22: a misspelt setting is worth a warning; a newer release's setting must not stop an older one."""
        with caplog.at_level(logging.WARNING):
            of(HOOKCACHE_FRESH_SECONDS_="60", HOOKCACHE_NOVEL="hush")

        assert ["HOOKCACHE_FRESH_SECONDS_", "HOOKCACHE_NOVEL"] == [line.split()[0] for line in caplog.messages]
        assert "hush" not in caplog.text

    def test_variables_of_others_are_not_ours(self, caplog):
        """B22, control: only `HOOKCACHE_` is read."""
        assert of() == of(FRESH_SECONDS="x", XHOOKCACHE_MODE="y")
        assert [] == caplog.messages


class TestOneAgainstAnother:
    def test_memory_must_not_outlive_freshness(self):
        """P52, P11, B22: crossing bounds; the message names the one to change."""
        assert refused(HOOKCACHE_FRESH_SECONDS="60", HOOKCACHE_MEMORY_SECONDS="61").startswith(
            "HOOKCACHE_MEMORY_SECONDS"
        )
        assert 60 == of(HOOKCACHE_FRESH_SECONDS="60", HOOKCACHE_MEMORY_SECONDS="60").memory_seconds

    def test_memory_follows_a_short_freshness_by_itself(self):
        """P52: an operator who shortens freshness alone need not know of the other."""
        assert 60 == of(HOOKCACHE_FRESH_SECONDS="60").memory_seconds
        assert 300 == of(HOOKCACHE_FRESH_SECONDS="6000").memory_seconds

    def test_memory_must_not_outlive_the_freshness_of_a_context(self):
        """P52: per context as well."""
        message = refused(**policy(OCR={"fresh_seconds": 10}), HOOKCACHE_MEMORY_SECONDS="11")

        assert message.startswith("HOOKCACHE_MEMORY_SECONDS")
        assert "OCR" in message

    def test_freshness_must_not_pass_the_hard_end(self):
        """P52, P10: fresh <= hard, for each context."""
        message = refused(**policy(OCR={"fresh_seconds": 1000, "hard_seconds": 999}))

        assert message.startswith("HOOKCACHE_POLICY")
        assert "OCR" in message

    def test_a_lease_is_longer_than_its_beat(self):
        """P52: `LEASE` >= 3 x `BEAT` holds by construction; renewals come three times a lease."""
        from hookcache.lease import LeaseBook

        assert 10 == LeaseBook(None, None, of().lease_seconds).beat_seconds


class TestRules:
    def test_a_context_inherits_from_the_star_and_the_environment(self):
        """P47, P50: its own words, else `*`, else the environment, else the default of that step."""
        settings = of(
            HOOKCACHE_MODE="observe",
            HOOKCACHE_FRESH_SECONDS="5000",
            **policy(**{"*": {"temperature_ceiling": 0.5, "trace": True}, "OCR": {"mode": "off", "trace": False}}),
        )
        ocr, extraction = settings.rules("OCR"), settings.rules("Extraction")

        assert (Mode.OFF, 5000, 0.5, False, False) == (
            ocr.mode,
            ocr.fresh_seconds,
            ocr.temperature_ceiling,
            ocr.trace,
            ocr.require_json,
        )
        assert (Mode.OBSERVE, 5000, 0.5, True, True) == (
            extraction.mode,
            extraction.fresh_seconds,
            extraction.temperature_ceiling,
            extraction.trace,
            extraction.require_json,
        )

    def test_every_metered_context_has_rules(self):
        """P35, P47: `Other` included."""
        assert all(of().rules(context).fresh_seconds == 7 * DAY_SECONDS for context in METERED_CONTEXTS)

    def test_a_fresh_time_without_a_hard_one_is_both(self):
        """P10: hard = fresh is the default."""
        rules = of(**policy(OCR={"fresh_seconds": 1000})).rules("OCR")

        assert (1000, 1000) == (rules.fresh_seconds, rules.hard_seconds)

    def test_a_hard_time_for_all_outlasts_a_step_s_own_fresh_one(self):
        """P10, P45: a context's word replaces the same word of `*` and no other; between the two, fresh <= hard still holds."""
        everywhere = {"fresh_seconds": 500, "hard_seconds": 9000}
        settings = of(HOOKCACHE_MEMORY_SECONDS="60", **policy(**{"*": everywhere, "OCR": {"fresh_seconds": 1000}}))
        ocr, extraction = settings.rules("OCR"), settings.rules("Extraction")

        assert (1000, 9000) == (ocr.fresh_seconds, ocr.hard_seconds)
        assert (500, 9000) == (extraction.fresh_seconds, extraction.hard_seconds)
        assert "OCR" in refused(
            **policy(**{"*": {"fresh_seconds": 500, "hard_seconds": 999}, "OCR": {"fresh_seconds": 1000}})
        )

    def test_null_leaves_the_default_but_for_the_ceiling(self):
        """P16, B22: null is how JSON says that there is no ceiling; anywhere else it says nothing."""
        nothing = {"mode": None, "fresh_seconds": None, "refused_texts": None, "negative_errors": None}

        assert of().rules("OCR") == of(**policy(OCR=nothing)).rules("OCR")
        assert of(**policy(OCR={"temperature_ceiling": None})).rules("OCR").temperature_ceiling is None

    @pytest.mark.parametrize(
        "member",
        [
            {"fresh_seconds": 0},
            {"fresh_seconds": MONTH + 1},
            {"fresh_seconds": "60"},
            {"fresh_seconds": True},
            {"hard_seconds": -1},
            {"temperature_ceiling": -0.1},
            {"require_json": "yes"},
            {"usage_on_hit": "half"},
            {"error_detail": "none"},
            {"mode": "fast"},
            {"refused_texts": "text"},
            {"refused_texts": [5]},
            {"negative_errors": [f"Error{number}" for number in range(101)]},
            {"negative_errors": ["ValidationException", "E" * 65]},
            {"negative_errors": ["no such model"]},
            {"negative_errors": ["ValidationException\n"]},
            {"negative_errors": [""]},
        ],
        ids=lambda member: str(member)[:40],
    )
    def test_a_rule_out_of_bounds_is_named(self, member):
        """B22: variable, context and member."""
        message = refused(**policy(OCR=member))

        assert message.startswith(f"HOOKCACHE_POLICY: OCR: {next(iter(member))}")


ARN = "arn:aws:lambda:us-east-1:123456789012:function:"
OTHER_DIGITS = "\u0663" * 12


class TestBackend:
    """B19: judged at cold start as (partition, region, account, name, qualifier)."""

    @pytest.mark.parametrize(
        "name",
        [
            BACKEND,
            f"{BACKEND}:live",
            f"{BACKEND}:7",
            f"{BACKEND}:$LATEST",
            ARN + BACKEND,
            f"{ARN}{BACKEND}:live",
            f"{ACCOUNT}:function:{BACKEND}",
            f"{ACCOUNT}:function:{BACKEND}:live",
            f"{WRAPPER}-2",
            "x" * 64,
        ],
    )
    def test_a_backend_of_our_own_account_and_region(self, name):
        """B19, P52: alias, version, `$LATEST`, partial ARN."""
        assert name == of(HOOKCACHE_BACKEND=name).backend

    @pytest.mark.parametrize(
        "name",
        [
            WRAPPER,
            f"{WRAPPER}:live",
            f"{WRAPPER}:$LATEST",
            ARN + WRAPPER,
            f"{ARN}{WRAPPER}:7",
            f"{ACCOUNT}:function:{WRAPPER}",
        ],
    )
    def test_ourselves_in_any_form_are_refused(self, name):
        """B19, P52, F40: own name, alias, version, ARN."""
        assert "this function itself" in refused(HOOKCACHE_BACKEND=name)

    @pytest.mark.parametrize(
        ("name", "part"),
        [
            (f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:{BACKEND}", "region"),
            (f"arn:aws:lambda:us-east-1:999999999999:function:{BACKEND}", "account"),
            (f"999999999999:function:{BACKEND}", "account"),
            (f"arn:aws-cn:lambda:us-east-1:{ACCOUNT}:function:{BACKEND}", "partition"),
            (f"arn:aws-us-gov:lambda:us-east-1:{ACCOUNT}:function:{BACKEND}", "partition"),
        ],
    )
    def test_another_account_region_or_partition_is_refused(self, name, part):
        """B19: the host calls hooks of its own account and region only."""
        message = refused(HOOKCACHE_BACKEND=name)

        assert message.startswith("HOOKCACHE_BACKEND")
        assert part in message

    @pytest.mark.parametrize(("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
    def test_other_partitions_are_home_to_some(self, region, partition):
        """B19, S55: GovCloud and China."""
        name = f"arn:{partition}:lambda:{region}:{ACCOUNT}:function:{BACKEND}"

        assert name == of(HOOKCACHE_BACKEND=name, AWS_REGION=region).backend

    @pytest.mark.parametrize(
        "name",
        [
            f"{BACKEND}\n",
            f"{BACKEND}:",
            f"{BACKEND}:a b",
            f" {BACKEND}",
            "GENAIIDP/backend",
            "x" * 65,
            f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:{BACKEND}:1",
            f"arn:aws:lambda:us-east-1:1234:function:{BACKEND}",
            f"arn:aws:states:us-east-1:{ACCOUNT}:function:{BACKEND}",
            ARN,
            "GENAIIDP-b\u0430ckend",
            "*",
            f"arn:aws:lambda:us-east-1:{OTHER_DIGITS}:function:{BACKEND}",
            f"{OTHER_DIGITS}:function:{BACKEND}",
        ],
        ids=ascii,
    )
    def test_a_malformed_name_is_refused(self, name):
        """B19: layer ARN, trailing newline, look-alike letters, digits of another script."""
        assert refused(HOOKCACHE_BACKEND=name).startswith("HOOKCACHE_BACKEND is no function name or ARN")

    @pytest.mark.parametrize(
        "start",
        [
            "function:",
            f"{ACCOUNT}:",
            "us-east-1:",
            "us-gov-west-1:",
            "eusc-de-east-1:",
            f"us-east-1:{ACCOUNT}:function:",
        ],
    )
    @pytest.mark.parametrize("name", [WRAPPER, BACKEND])
    def test_a_name_that_lambda_reads_otherwise_is_refused(self, start, name):
        """B19, F40: Lambda's pattern takes what stands before the name for no name; ours would be called by it."""
        assert "no function name or ARN" in refused(HOOKCACHE_BACKEND=start + name)

    @pytest.mark.parametrize(
        "name", ["function", "function-7:live", ACCOUNT, "1234567890123:live", "eu-west-1", "hook-1:live"]
    )
    def test_a_name_that_only_looks_like_one_is_allowed(self, name):
        """B19, control: a whole name, and a longer one."""
        assert name == of(HOOKCACHE_BACKEND=name).backend

    @pytest.mark.parametrize("name", ["other-backend", "genaiidp-backend"])
    def test_a_missing_prefix_is_allowed_and_noted(self, name, caplog):
        """B19: no prefix, wrong case; a backend is called by us and not by the host."""
        with caplog.at_level(logging.WARNING):
            assert name == of(HOOKCACHE_BACKEND=name).backend

        assert "GENAIIDP-" in caplog.text

    def test_a_wrapper_without_backend_does_not_start(self):
        """B19, B22: empty or missing."""
        from hookcache.assembly import wrapper

        for name in ("", None):
            environ = {
                key: value for key, value in {**ENVIRONMENT, "HOOKCACHE_BACKEND": name}.items() if value is not None
            }
            with pytest.raises(ConfigurationError, match="HOOKCACHE_BACKEND is not set"):
                wrapper(environ)
