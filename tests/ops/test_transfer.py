"""Export and import: entries move to another secret, namespace or table; counted, verified, resumed, none lost."""

import argparse
import copy
import hashlib
import io
import json
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from fakes import FakeSecrets, ocr_event, summarization_event, token_answer
from hookcache.settings import Settings
from hookcache_ops import export as exporting
from hookcache_ops import import_entries as importing
from hookcache_ops.cli import main
from hookcache_ops.reach import ReachError
from hookcache_ops.transfer import ExportFile, TransferError, decoded, encoded, read_export
from operator_rig import Slow, operator_of


class Scanning:
    """The rig's clients with a table that an operator may scan, in pages; `cut_after` pages it fails once."""

    def __init__(self, rig, page=2, cut_after=None):
        self._rig, self._page, self._cut_after = rig, page, cut_after

    def dynamodb(self):
        return self

    def __getattr__(self, name):
        return getattr(self._rig.clients, name)

    def scan(self, **arguments):
        if self._cut_after is not None:
            if self._cut_after == 0:
                raise KeyboardInterrupt
            self._cut_after -= 1
        namespace = arguments["ExpressionAttributeValues"][":namespace"]["S"]
        items = sorted(self._rig.dynamodb.of_kind("ENTRY"), key=lambda item: item["pk"]["B"])
        start = arguments.get("ExclusiveStartKey")
        rest = [item for item in items if start is None or item["pk"]["B"] > start["pk"]["B"]]
        page = rest[: self._page]
        found = [item for item in page if item["namespace"]["S"].startswith(namespace) and "erased" not in item]
        more = {"LastEvaluatedKey": {"pk": page[-1]["pk"]}} if len(rest) > self._page else {}
        return {"Items": copy.deepcopy(found), **more}


def settings_of(rig):
    return Settings.of({name: value for name, value in rig.settings.items() if name.startswith("HOOKCACHE_")})


def exported(rig, path, **scanning):
    settings = settings_of(rig)
    file = ExportFile(path, settings.table, settings.namespace)
    exporting.export(settings, file, Scanning(rig, **scanning))
    return file


def imported(path, old, new, rollouts=()):
    counts = Counter()
    sides = [importing.side_of(settings_of(rig), rig.clients, rig.clock) for rig in (old, new)]
    importing.transfer(read_export(path), *sides, counts, rollouts)
    return +counts


@pytest.fixture(autouse=True)
def alive(monkeypatch):
    """The rig's clock shows a day of its own; an export takes what the real one says is not yet over."""
    monkeypatch.setattr(exporting.SystemClock, "now_ms", lambda _: 0)


@pytest.fixture
def old(make_rig):
    rig = make_rig(HOOKCACHE_NAMESPACE="old")
    for number in range(5):
        rig.call(summarization_event(f"letter {number}"))
    rig.call(ocr_event(rig.image(b"page")))
    return rig


@pytest.fixture
def new(make_rig):
    rig = make_rig(HOOKCACHE_NAMESPACE="new")
    rig.secrets.text = "another secret of thirty-two letters"
    return rig


def replayed(rig):
    for number in range(5):
        rig.call(summarization_event(f"letter {number}"))
    rig.call(ocr_event(rig.image(b"page")))
    return rig.outcomes


def test_entries_answer_under_another_secret_and_namespace(old, new, tmp_path):
    """P1, P6, P7: the same requests hit there, with the same answers; nothing is lost."""
    file = exported(old, tmp_path / "old.export")
    counts = imported(tmp_path / "old.export", old, new)
    outcomes = replayed(new)

    assert (file.entries, counts) == (6, {"imported": 6})
    assert outcomes == ["hit_table"] * 6
    assert new.backend.calls == []
    assert [answer["output"] for answer in new.answers] == [answer["output"] for answer in old.answers]


def test_without_the_import_they_miss(old, new):
    """Negative control of the test above."""
    assert replayed(new) == ["miss"] * 6


def test_an_imported_page_can_be_erased_by_its_image(old, new, tmp_path):
    """P46: the index goes along."""
    exported(old, tmp_path / "old.export")
    imported(tmp_path / "old.export", old, new)

    assert len([item for item in new.dynamodb.items.values() if item["kind"]["S"].startswith("INDEX#")]) == len(
        [item for item in old.dynamodb.items.values() if item["kind"]["S"].startswith("INDEX#")]
    )


def test_an_export_that_was_killed_at_its_very_end_leaves_nothing_in_the_way(old, tmp_path, monkeypatch):
    """What it had last written down was taken for the next export's, where that was cut short before its first page."""
    path = tmp_path / "old.export"
    replace = Path.replace

    def replaced_and_killed(part, target):
        replace(part, target)
        if target == path:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replaced_and_killed)
        with pytest.raises(KeyboardInterrupt):
            exported(old, path)
    with pytest.raises(KeyboardInterrupt):
        exported(old, path, cut_after=0)

    assert 6 == exported(old, path).entries == read_export(path).entries


def test_how_an_export_is_spelt_never_changes(tmp_path):
    """F39: a file of this release is imported by another, and the other way round; else `FORMAT` is raised."""
    file = ExportFile(tmp_path / "file", "table", "default")
    file.add([({"pk": {"B": b"\x01\xff"}, "fence": {"N": "7"}, "kind": {"S": "ENTRY"}}, b"body")], None)
    file.finish()

    assert [
        '{"hookcache_export":1,"table":"table","namespace":"default"}',
        '{"item":{"pk":{"B":{"base64":"Af8="}},"fence":{"N":"7"},"kind":{"S":"ENTRY"}},"body":"Ym9keQ=="}',
        '{"entries":1,"sha256":"16e1d4b4878fd1f5e94c6ef0517f52b0a68753600bf423de4d59527390073036"}',
    ] == (tmp_path / "file").read_text().splitlines()


def test_a_function_that_is_no_wrapper_takes_no_entries(old, new, tmp_path):
    """P40: its keys name its own code, which nobody sees from outside; it was told that a right is missing."""
    exported(old, tmp_path / "old.export")
    del new.settings["HOOKCACHE_BACKEND"]

    with pytest.raises(ReachError, match="give a wrapper's name"):
        imported(tmp_path / "old.export", old, new)


def test_importing_again_changes_nothing(old, new, tmp_path):
    """Resuming is running again."""
    exported(old, tmp_path / "old.export")
    imported(tmp_path / "old.export", old, new)

    assert imported(tmp_path / "old.export", old, new) == {"known": 6}


def test_an_export_that_was_cut_short_goes_on(old, tmp_path):
    """Nothing twice, nothing missing, and no file until it is whole."""
    path = tmp_path / "old.export"
    with pytest.raises(KeyboardInterrupt):
        exported(old, path, cut_after=2)
    with (tmp_path / "old.export.part").open("ab") as part:
        part.write(b'{"item": {"half a li')
    before = path.exists()
    file = exported(old, path)
    keys = [item["pk"]["B"] for item, _ in read_export(path)]

    assert (before, file.entries, len(keys), len(set(keys))) == (False, 6, 6, 6)


@pytest.mark.parametrize(
    "spoil", [lambda text: text.replace(b'"S"', b'"N"', 1), lambda text: text[:-40], lambda text: b""]
)
def test_a_changed_or_cut_export_is_refused(spoil, old, tmp_path):
    """P6: whoever holds the file cannot change what will be answered."""
    path = tmp_path / "old.export"
    exported(old, path)
    path.write_bytes(spoil(path.read_bytes()))

    with pytest.raises(TransferError):
        list(read_export(path))


def test_the_number_of_entries_is_not_to_be_changed_either(old, tmp_path):
    """P6: it stands in the last line, which its digest does not cover: fewer would be left out in silence."""
    path = tmp_path / "old.export"
    exported(old, path)
    path.write_bytes(path.read_bytes().replace(b'{"entries":6,', b'{"entries":5,'))

    with pytest.raises(TransferError, match="changed or cut"):
        read_export(path)


def test_an_export_does_not_go_on_in_that_of_another_cache(old, tmp_path):
    """P1: answers of two namespaces or tables in one file; and what is finished leaves no position behind."""
    path = tmp_path / "old.export"
    with pytest.raises(KeyboardInterrupt):
        exported(old, path, cut_after=2)
    for table, namespace in ((settings_of(old).table, "other"), ("other", "old")):
        with pytest.raises(TransferError, match="another table or namespace"):
            ExportFile(path, table, namespace)
    exported(old, path)

    assert ["old.export"] == [each.name for each in tmp_path.iterdir()]


def test_what_was_erased_where_it_is_to_go_does_not_come_back(old, new, tmp_path):
    """P13: an import that is run again is no way around an erase there."""
    exported(old, tmp_path / "old.export")
    imported(tmp_path / "old.export", old, new)
    replayed(new)
    erase_all(new)

    assert {"erased": 6} == imported(tmp_path / "old.export", old, new)
    assert [] == [entry for entry in new.entries if "erased" not in entry]


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_generation_that_was_ordered_is_the_one_that_counts(side, make_rig, old, new, tmp_path):
    """P44: entries were made under it, or are to be found under it, whatever the settings say."""
    given = {"old": old, "new": new}[side]
    with operator_of(given) as commands:
        commands({"command": "generation", "generation": "2"})
    for rig in (old, new):
        rig.clock.advance(120)
    if side == "old":
        replayed(old)
    exported(old, tmp_path / "old.export")
    counts = imported(tmp_path / "old.export", old, new)

    assert 6 == counts["imported"]
    assert ["hit_table"] * 6 == replayed(new)


@pytest.mark.parametrize(("ending", "status"), [("imported", 0), ("erased", 0), ("damaged", 1)])
def test_the_exit_status_tells_of_damage(ending, status, old, tmp_path, monkeypatch, capsys):
    """What stayed behind for a reason is no failure; what could not be read is one."""
    exported(old, tmp_path / "old.export")
    monkeypatch.setattr(importing, "variables_for", lambda _: settings_variables(old))
    monkeypatch.setattr(importing, "side_of", lambda *_: None)
    monkeypatch.setattr(importing, "transfer", lambda *args: args[3].update({ending: 1}))

    assert status == main(["import", str(tmp_path / "old.export"), "--from-function", "A", "--function", "B"])


def test_an_entry_that_was_tampered_with_is_counted_as_damaged(old, new, tmp_path):
    """P6: also where the file's own digest was made anew: the tag needs the secret."""
    item = next(item for item in old.dynamodb.of_kind("ENTRY"))
    item["usage"] = {"S": "planted"}
    file = ExportFile(tmp_path / "old.export", settings_of(old).table, "old")
    file.add([(item, None)], None)
    file.finish()

    assert imported(tmp_path / "old.export", old, new) == {"damaged": 1}


def test_what_was_erased_meanwhile_does_not_come_back(old, new, tmp_path):
    """P13: an import is no way around an erase."""
    exported(old, tmp_path / "old.export")
    old.erase_all() if hasattr(old, "erase_all") else erase_all(old)

    assert imported(tmp_path / "old.export", old, new) == {"erased": 6}


@pytest.mark.parametrize("erased", [True, False])
def test_what_was_replaced_meanwhile_does_not_come_back(erased, old, new, tmp_path):
    """P13: an answer that was erased, and asked for anew, or refreshed, is not the one in the export."""
    exported(old, tmp_path / "old.export")
    if erased:
        erase_all(old)
    old.clock.advance(5)
    old.backend.replies = [token_answer("another")]
    old.call(summarization_event("letter 0"), old.cold_start(), wishes=None if erased else {"refresh": True})
    counts = imported(tmp_path / "old.export", old, new)

    assert counts == {"replaced": 1, "erased" if erased else "imported": 5}


def test_what_was_replaced_is_told_with_the_remedy(capsys):
    importing._show({"replaced": 1}, argparse.Namespace(json=False))
    importing._show({"replaced": 1}, argparse.Namespace(json=True))
    text, remedy, figures = capsys.readouterr().out.splitlines()

    assert text == "1 entry, 0 imported, 1 replaced"
    assert ("1 replaced" in text, "export again" in remedy, json.loads(figures)["replaced"]) == (True, True, 1)


@pytest.mark.parametrize("spoilt", [{"ttl": None}, {"ttl": {"S": "x"}}, {"overflow": {"N": "1"}}])
def test_a_planted_item_ends_no_export(spoilt, old, new, tmp_path):
    """P6: it goes along, and is told as damaged."""
    (item, *_) = old.dynamodb.of_kind("ENTRY")
    planted = {**item, "pk": {"B": b"\1" * 32}, **spoilt}
    old.dynamodb.plant({name: value for name, value in planted.items() if value is not None})
    exported(old, tmp_path / "old.export")

    assert imported(tmp_path / "old.export", old, new) == {"imported": 6, "damaged": 1}


def erase_all(rig):
    from hookcache.commands import Commands

    commands = Commands(settings_of(rig), rig.clients, rig.clock)
    for key_id in {receipt["key_id"] for receipt in rig.receipts}:
        commands({"command": "erase", "key_ids": [key_id], "dry_run": False}, None)


def test_what_was_erased_long_ago_does_not_come_back_either(old, new, tmp_path):
    """P13: the mark of an erase leaves with its ttl; an entry that should still be there and is not was erased."""
    exported(old, tmp_path / "old.export")
    erase_all(old)
    for place in [place for place, item in old.dynamodb.items.items() if "erased" in item]:
        del old.dynamodb.items[place]

    assert imported(tmp_path / "old.export", old, new) == {"erased": 6}


def test_what_is_erased_there_just_before_it_is_written_is_told_as_erased(make_rig, new, tmp_path):
    """P13: the mark of the erase stands in its way, and the figures say so."""
    rig = make_rig(HOOKCACHE_NAMESPACE="old")
    rig.call(ocr_event(rig.image(b"page")))
    exported(rig, tmp_path / "old.export")
    with operator_of(new) as operator:

        def erase_first(operation, asked):
            if operation == "put_item" and asked["Item"]["kind"]["S"] == "ENTRY":
                new.dynamodb.before = lambda *_: None
                operator({"command": "erase", "images": [hashlib.sha256(b"page").hexdigest()]})

        new.dynamodb.before = erase_first

        assert {"erased": 1} == imported(tmp_path / "old.export", rig, new)


@pytest.mark.parametrize("cut_into", ["import", "erase"])
def test_an_erase_beside_an_import_is_final_whenever_it_comes(make_rig, tmp_path, cut_into):
    """P13: after a rotation; one of the two runs whole before each step of the other in turn, and after it."""
    for step in range(60):
        rig = make_rig()
        page = rig.image(b"page")
        rig.call(ocr_event(page))
        exported(rig, path := tmp_path / f"{step}.export")
        rig.secrets = rig.clients.secrets = Rotated(rig.secrets.text)
        with operator_of(rig) as operator:

            def importing_it(rig=rig, path=path):
                imported(path, rig, rig)

            def erasing_it(operator=operator):
                assert operator({"command": "erase", "images": [hashlib.sha256(b"page").hexdigest()]})["finished"]

            outer, inner = (importing_it, erasing_it) if cut_into == "import" else (erasing_it, importing_it)
            steps = cut_before(rig.dynamodb, step, outer, inner)
        rig.call(ocr_event(page), rig.cold_start())

        assert "miss" == rig.outcomes[-1], (
            f"the erased answer is served where the {cut_into} was cut before step {step}"
        )
        if step > steps:
            return
    raise AssertionError("not every step was met")


def cut_before(dynamodb, step, outer, inner):
    """Run `outer`, and all of `inner` before its table operation number `step`, or after the last; gives their number."""
    met, within = 0, False

    def before(operation, arguments):
        nonlocal met, within
        if within:
            return
        if met == step:
            within = True
            inner()
            within = False
        met += 1

    dynamodb.before = before
    outer()
    dynamodb.before = lambda *_: None
    if met <= step:
        inner()
    return met


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("rotated", [False, True])
def test_what_was_invalidated_stays_behind(soft, rotated, old, new, tmp_path):
    """P44: the order does not go along, and what it was about must not either; also one given before a rotation."""
    old.clock.advance(10)
    before = {"command": "invalidate", "before_ms": int(old.clock.now_ms()), "soft": soft}
    with operator_of(old) as commands:
        commands(before)
    exported(old, tmp_path / "old.export")
    if rotated:
        old.secrets = old.clients.secrets = Rotated(old.secrets.text)

    assert imported(tmp_path / "old.export", old, new) == {"invalidated": 6}


class Rotated(FakeSecrets):
    """A secret in force and the one before it."""

    def __init__(self, before):
        super().__init__("a third secret of thirty-two letters")
        self._before = before

    def get_secret_value(self, **arguments):
        if arguments.get("VersionStage") == "AWSPREVIOUS":
            return {"SecretString": self._before}
        return super().get_secret_value(**arguments)


def test_entries_of_another_backend_stay_behind(old, new, tmp_path):
    """P1, P40: what other code said is never served as this one's."""
    exported(old, tmp_path / "old.export")
    new.backend.deploy(code="code-2")

    assert imported(tmp_path / "old.export", old, new) == {"other_backend": 6}


@pytest.mark.parametrize(
    ("rollouts", "counts", "then"),
    [
        (["blue", "green"], {"imported": 7}, "hit_table"),
        (["green"], {"imported": 6, "other_backend_or_rollout": 1}, "miss"),
        ([], {"imported": 6, "other_backend_or_rollout": 1}, "miss"),
    ],
    ids=["named", "control: another named", "control: none named"],
)
def test_what_was_asked_for_under_a_rollout_id_goes_along_where_it_is_named(old, new, tmp_path, rollouts, counts, then):
    """P1, P51: under its own id and no other; what stays behind is counted apart."""
    blue = {"rollout": "blue"}
    old.call(summarization_event("letter 0"), wishes=blue)
    exported(old, tmp_path / "old.export")
    found = imported(tmp_path / "old.export", old, new, rollouts)
    new.call(summarization_event("letter 0"), wishes=blue)

    assert counts == found
    assert then == new.outcomes[-1]


@pytest.mark.parametrize("left", [0, 3])
def test_the_command_says_what_stayed_behind_and_what_to_do(capsys, left):
    """P51: nothing is left out in silence."""
    importing._show({"imported": 6, "other_backend_or_rollout": left}, argparse.Namespace(json=False))
    said = capsys.readouterr().out

    assert bool(left) == ("3 other backend or rollout" in said) == ("--rollout" in said)


def test_entries_of_an_earlier_generation_stay_behind(old, new, tmp_path):
    """P1: what is out of reach in the old cache does not become reachable in the new one."""
    exported(old, tmp_path / "old.export")
    old.settings["HOOKCACHE_GENERATION"] = "later"

    assert imported(tmp_path / "old.export", old, new, ["blue"]) == {"other_backend_or_rollout": 6}


def test_times_and_large_bodies_go_along(make_rig, new, tmp_path):
    """P10, P49: an entry lives no longer there than here; a body from the bucket lands in the bucket."""
    old = make_rig(HOOKCACHE_NAMESPACE="old")
    noise = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(300_000))
    old.backend.replies = [token_answer(noise)]
    old.call(summarization_event("long"))
    exported(old, tmp_path / "old.export")
    counts = imported(tmp_path / "old.export", old, new)
    (before,), (after,) = old.dynamodb.of_kind("ENTRY"), new.dynamodb.of_kind("ENTRY")

    assert counts == {"imported": 1}
    assert "overflow" in before
    assert "overflow" in after
    assert {name: before[name] for name in ("created_ms", "fresh_until_ms", "hard_until_ms", "fence")} == {
        name: after[name] for name in ("created_ms", "fresh_until_ms", "hard_until_ms", "fence")
    }


def test_the_file_tells_no_digest_that_a_guess_could_be_tried_on(old, tmp_path):
    """P37: forms and images lie masked."""
    import hashlib

    exported(old, tmp_path / "old.export")
    text = (tmp_path / "old.export").read_text()

    assert hashlib.sha256(b"page").hexdigest() not in text
    assert all(
        hashlib.sha256(b"page").digest() not in decoded(json.loads(line)["item"]).get("origin", {}).get("B", b"")
        for line in text.splitlines()[1:-1]
    )


def test_attributes_survive_json():
    item = {"pk": {"B": b"\0\xff"}, "n": {"N": "1"}, "flag": {"BOOL": True}, "text": {"S": "é"}}

    assert decoded(json.loads(json.dumps(encoded(item)))) == item


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["export", "-o", "/no/such/folder/x"], "choose a folder"),
        (["import", "missing.export", "--from-function", "", "--function", ""], "give the file of an export"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, remedy, monkeypatch, capsys):
    monkeypatch.setenv("HOOKCACHE_TABLE", "hookcache")
    monkeypatch.setenv("HOOKCACHE_SECRET", "0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("HOOKCACHE_BACKEND", "GENAIIDP-x")
    monkeypatch.setenv("HOOKCACHE_IDENTITY", "pinned")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert remedy in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["warm", "{here}/missing.jsonl", "--function", "X"], "give a file of pairs"),
        (["warm", "{here}", "--function", "X"], "put each beside its"),
        (["export", "-o", "{here}", "--function", "X"], "name the file in it"),
        (["export", "-o", "{here}/no/x", "--function", "X"], "choose a folder that exists"),
        (["export", "-o", "/dev/null", "--function", "X"], "a device or a pipe"),
        (["import", "{here}/missing", "--from-function", "X", "--function", "Y"], "give the file of an export"),
        (["import", "{here}/cut", "--from-function", "X", "--function", "Y"], "is no finished export"),
    ],
)
def test_the_file_is_looked_at_before_aws_is_asked(arguments, remedy, tmp_path, monkeypatch, capsys):
    """Without credentials, and without a function of that name, the first word is of the file."""
    monkeypatch.setattr("hookcache_ops.reach._lambda_client", lambda: pytest.fail("AWS was asked"))
    (tmp_path / "cut").write_text('{"hookcache_export": 1}\n')

    assert main([argument.format(here=tmp_path) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert (remedy in captured.err, captured.err.count("\n"), captured.out) == (True, 1, "")
    assert ["cut"] == [path.name for path in tmp_path.iterdir()]


class TestTwoAtOnce:
    def test_the_second_is_told_and_harms_nothing(self, old, tmp_path):
        path = tmp_path / "old.export"
        first = ExportFile(path, settings_of(old).table, "old")
        with pytest.raises(TransferError, match="another export is writing"):
            ExportFile(path, settings_of(old).table, "old")
        exporting.export(settings_of(old), first, Scanning(old))

        assert len(list(read_export(path))) == 6

    def test_one_that_began_when_the_first_had_just_ended_is_told_too(self, old, tmp_path, monkeypatch):
        """Its handle is then that of the finished file, which it must not write into."""
        path = tmp_path / "old.export"
        first = ExportFile(path, settings_of(old).table, "old")

        def ended(*_):
            first.finish()

        monkeypatch.setattr("hookcache_ops.transfer.fcntl.flock", ended)
        with pytest.raises(TransferError, match="another export is writing"):
            ExportFile(path, settings_of(old).table, "old")

        assert list(read_export(path)) == []


@pytest.mark.parametrize(
    "position",
    ["", "{}", "[1]", '{"bytes": 10, "entries": 0, "after": null', '{"bytes": 99999, "entries": 3, "after": null}'],
)
def test_an_interrupted_export_that_was_damaged_is_told(position, old, tmp_path):
    """A machine that went down may have kept one of the two files and not the other."""
    path = tmp_path / "old.export"
    with pytest.raises(KeyboardInterrupt):
        exported(old, path, cut_after=2)
    (tmp_path / "old.export.position").write_text(position)

    with pytest.raises(TransferError, match="remove both and export again"):
        exported(old, path)


def test_an_export_that_went_on_says_so(old, tmp_path, capsys, monkeypatch):
    """What lies in it from before may be a week old."""
    path = tmp_path / "old.export"
    with pytest.raises(KeyboardInterrupt):
        exported(old, path, cut_after=2)
    monkeypatch.setattr(exporting, "variables_for", lambda _: settings_variables(old))
    monkeypatch.setattr(exporting, "OperatorClients", lambda **_: Scanning(old))

    assert main(["export", "-o", str(path), "--function", "X"]) == 0
    assert "6 entries in" in (said := capsys.readouterr().out)
    assert "4 of them written by the run that was cut short" in said


@pytest.mark.parametrize("cut_after", [None, 2], ids=["whole", "interrupted"])
def test_a_terminal_is_left_with_no_half_line(cut_after, old, new, tmp_path, monkeypatch):
    """Progress is taken away before anything else is said; it stood before the last line: `6 entries6 entries in FILE`."""
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr", shown)
    path = tmp_path / "old.export"
    with pytest.raises(KeyboardInterrupt) if cut_after else nullcontext():
        exported(old, path, cut_after=cut_after)
    if cut_after is None:
        assert {"imported": 6} == imported(path, old, new)
        assert "hookcache import: 6 entries" in shown.getvalue()

    assert "hookcache export: 4 entries" in shown.getvalue()
    assert shown.getvalue().endswith("\r\033[K")


def test_the_wrong_wrapper_is_named_and_its_entries_are_not_called_damaged(old, new, tmp_path, capsys, monkeypatch):
    exported(old, tmp_path / "old.export")
    monkeypatch.setattr(importing, "variables_for", lambda _: settings_variables(new))

    assert main(["import", str(tmp_path / "old.export"), "--from-function", "NEW", "--function", "OLD"]) == 2
    captured = capsys.readouterr()
    assert "holds namespace old, and NEW keeps new" in captured.err
    assert captured.out == ""


def settings_variables(rig):
    return {name: value for name, value in rig.settings.items() if name.startswith("HOOKCACHE_")}


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("AccessDeniedException", "you need dynamodb:Scan"),
        ("ExpiredTokenException", "or log in"),
        ("ThrottlingException", "wait a moment"),
        ("ResourceNotFoundException", "whether it is still there"),
    ],
)
def test_a_refused_scan_names_its_own_remedy(code, remedy, old, tmp_path, capsys, monkeypatch):
    """Running again is no cure for a right that is missing."""

    def refused(*_):
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "Scan")

    monkeypatch.setattr(exporting, "variables_for", lambda _: settings_variables(old))
    monkeypatch.setattr(exporting, "export", refused)

    assert main(["export", "-o", str(tmp_path / "x"), "--function", "X"]) == 1
    captured = capsys.readouterr()
    assert code in captured.err
    assert remedy in captured.err
    assert captured.err.count("\n") == 1


def test_a_page_of_the_table_may_take_seconds(old, tmp_path, monkeypatch):
    """A page of a scan holds up to 1 MB; half a second, a request's bound, would end each export at its first page."""
    given = []
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(exporting, "variables_for", lambda _: settings_variables(old))
    monkeypatch.setattr(exporting, "export", lambda _settings, _file, clients: given.append(clients.dynamodb()))

    assert main(["export", "-o", str(tmp_path / "x"), "--function", "X"]) == 0
    config = given[0].meta.config
    assert (config.read_timeout, config.retries["total_max_attempts"]) == (10, 5)


def test_a_table_that_timed_out_is_not_taken_for_the_file(old, tmp_path, monkeypatch, capsys):
    """The SDK's timeouts are OSErrors as well."""

    def late(*_):
        raise ReadTimeoutError(endpoint_url="https://table")

    monkeypatch.setattr(exporting, "variables_for", lambda _: settings_variables(old))
    monkeypatch.setattr(exporting, "export", late)

    assert main(["export", "-o", str(tmp_path / "x"), "--function", "X"]) == 1
    assert "check the network and AWS_REGION" in capsys.readouterr().err


def test_an_import_waits_for_a_slow_table(old, new, tmp_path):
    """F3 bounds what a request waits for the table, and nobody's request waits for this."""
    exported(old, tmp_path / "old.export")
    new.clients = Slow(new.clients, 1.1)

    assert imported(tmp_path / "old.export", old, new) == {"imported": 6}
