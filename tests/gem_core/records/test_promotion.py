from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gem_core.errors import GemError
from gem_core.records.lineage import Lineage
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import Grounds, Move, broken_link, read_log, reigns
from gem_core.records.registration import register
from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.records.versions import CHAMPION
from gem_core.settings import Settings

LINEAGE = Lineage(base_model="b", base_revision="r", base_digest="d", data_digest="d", recipe={}, recipe_digest="r")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Settings(home=tmp_path_factory.mktemp("gem"), tracking_uri=None)


@pytest.fixture(scope="module")
def registry(store):
    return Registry(store)


@pytest.fixture
def name(registry, store, request, tmp_path):
    """A registered model of four versions."""
    name = request.node.name.split("[")[0].replace("_", "-")[:60]
    make_versions(registry, store, name, tmp_path, 4)
    return name


@pytest.fixture
def championship(registry, name):
    return Championship(registry, name)


def make_versions(registry, store, name, folder, count):
    run_id = Tracking(store.mlflow_uri).start_run("runs", name, {})
    for number in range(1, count + 1):
        model = folder / f"model-{number}"
        model.mkdir()
        (model / "config.json").write_text(f'{{"name": "{name}", "number": {number}}}')
        register(registry, name, model, run_id, LINEAGE, who="tests")


def champion_of(registry, name):
    found = registry.champion(name)
    return found and found.version


def moves(championship):
    """(action, from, to) of every move that is not a registration."""
    return [(m.action, m.from_version, m.to_version) for m in championship.history() if m.action != "register"]


def promote(championship, version, expected):
    return championship.promote(version, Grounds("tests", f"{expected} to {version}"), expected=expected)


def report_on(championship, version, champion=None, **more):
    """A gate report on this version, held against this champion."""
    found = {number: championship._get(number).digest for number in (version, champion) if number}
    return {"verdict": "pass", "candidate": found[version], "champion": found.get(champion), **more}


def test_a_promotion_moves_the_alias_and_is_logged(registry, championship, name):
    report = report_on(championship, "2", results=[{"name": "gain", "difference": 15.0}])
    move = championship.promote("2", Grounds("somebody", "it is better", report), expected=None)
    assert champion_of(registry, name) == "2"
    assert championship.history()[-1] == move
    assert (move.action, move.version, move.from_version, move.to_version) == ("promote", "2", None, "2")
    assert (move.who, move.reason, move.report["verdict"]) == ("somebody", "it is better", "pass")
    assert championship.report(move) == report
    assert move.when.tzinfo is not None
    assert broken_link(championship.history()) is None


@pytest.mark.parametrize(("champion", "expected"), [(None, "1"), ("1", None), ("1", "2")])
def test_a_champion_other_than_expected_refuses(registry, store, tmp_path, champion, expected):
    name = f"refusing-{champion}-{expected}".lower()
    make_versions(registry, store, name, tmp_path, 3)
    championship = Championship(registry, name)
    if champion:
        promote(championship, champion, None)
    before = championship.history()
    with pytest.raises(GemError, match=r"by now, not .* version 3 was not promoted"):
        promote(championship, "3", expected)
    assert (champion_of(registry, name), championship.history()) == (champion, before)


def test_asking_again_after_a_crash_is_answered_with_the_move_that_did_it(championship):
    promote(championship, "1", None)
    move = promote(championship, "2", "1")
    assert promote(championship, "2", "1") == move
    assert moves(championship) == [("promote", None, "1"), ("promote", "1", "2")]
    with pytest.raises(GemError, match="already is its champion"):
        promote(championship, "2", "2")


def test_a_version_that_is_not_there_cannot_be_promoted(championship):
    with pytest.raises(GemError, match="has no version or alias '9'"):
        promote(championship, "9", None)


def test_a_challenger_waits_and_is_none_once_promoted(registry, championship, name):
    championship.challenge("2", Grounds("gates", "passed, waits for a person"), expected=None)
    assert registry.get(name, "challenger").version == "2"
    assert champion_of(registry, name) is None
    promote(championship, "challenger", None)
    assert champion_of(registry, name) == "2"
    with pytest.raises(GemError, match="no version or alias 'challenger'"):
        registry.get(name, "challenger")
    assert moves(championship) == [("challenge", None, None), ("promote", None, "2")]


def test_a_refusal_is_logged_and_moves_nothing(registry, championship, name):
    promote(championship, "1", None)
    championship.refuse("2", Grounds("gates", "language lost 2 points", {"verdict": "fail"}))
    assert champion_of(registry, name) == "1"
    last = championship.history()[-1]
    assert (last.action, last.version, last.to_version) == ("refuse", "2", "1")
    assert championship.report(last) == {"verdict": "fail"}
    championship.refuse("2", Grounds("gates", "language lost 2 points", {"verdict": "fail"}))
    assert championship.history()[-1] == last, "a rerun says it again; the log does not"


def test_rolling_back_goes_through_earlier_champions(registry, championship, name):
    for version, expected in (("1", None), ("2", "1"), ("4", "2")):
        promote(championship, version, expected)
    assert championship.rollback(Grounds("tests", "slow")).to_version == "2"
    assert championship.rollback(Grounds("tests", "worse")).to_version == "1"
    with pytest.raises(GemError, match="has had no champion before version 1"):
        championship.rollback(Grounds("tests", "again"))
    promote(championship, "3", "1")
    assert championship.rollback(Grounds("tests", "back")).to_version == "1"
    assert champion_of(registry, name) == "1"
    assert broken_link(championship.history()) is None


def test_rolling_back_to_a_named_version(championship):
    promote(championship, "1", None)
    promote(championship, "3", "1")
    assert championship.rollback(Grounds("tests", "known good"), to="2").to_version == "2"
    with pytest.raises(GemError, match="already is its champion"):
        championship.rollback(Grounds("tests", "again"), to="champion")
    with pytest.raises(GemError, match="no version or alias '9'"):
        championship.rollback(Grounds("tests", "again"), to="9")
    assert championship.rollback(Grounds("tests", "on")).to_version == "3"


def test_nothing_to_roll_back(championship):
    with pytest.raises(GemError, match="no champion before nobody"):
        championship.rollback(Grounds("tests", "?"))


# --- a person decides ---


def test_an_approval_makes_the_challenger_champion(registry, championship, name):
    promote(championship, "1", None)
    report = report_on(championship, "2", "1", verdict="inconclusive")
    championship.challenge("2", Grounds("gates", "cannot tell", report), expected="1")
    move = championship.approve("2", Grounds("a person", "I read fifty of them"))
    assert (champion_of(registry, name), championship.waits("2")) == ("2", False)
    assert (move.action, move.from_version, move.to_version, move.who) == ("approve", "1", "2", "a person")
    assert championship.report(move) == report
    assert championship.approve("2", Grounds("a person", "again")) == move
    assert championship.rollback(Grounds("tests", "no")).to_version == "1"


def test_what_does_not_wait_cannot_be_approved(registry, championship, name):
    with pytest.raises(GemError, match="does not wait for an approval: nothing does"):
        championship.approve("2", Grounds("a person", ""))
    championship.challenge("2", Grounds("gates", ""), expected=None)
    championship.challenge("3", Grounds("gates", ""), expected=None)
    with pytest.raises(GemError, match="does not wait for an approval: version 3 does"):
        championship.approve("2", Grounds("a person", ""))
    assert champion_of(registry, name) is None


def test_an_approval_comes_too_late_once_the_champion_is_another(registry, championship, name):
    promote(championship, "1", None)
    championship.challenge("2", Grounds("gates", ""), expected="1")
    promote(championship, "3", "1")
    with pytest.raises(GemError, match="is version 3 by now, not version 1"):
        championship.approve("2", Grounds("a person", ""))
    with pytest.raises(GemError, match="is version 3 by now, not version 1"):
        championship.challenge("4", Grounds("gates", "judged against another"), expected="1")
    assert champion_of(registry, name) == "3"


def test_a_declined_challenger_waits_no_more(championship):
    championship.challenge("2", Grounds("gates", ""), expected=None)
    move = championship.decline("2", Grounds("a person", "it swears"))
    assert championship.decline("2", Grounds("a person", "it swears")) == move
    assert not championship.waits("2")
    with pytest.raises(GemError, match="does not wait"):
        championship.approve("2", Grounds("a person", ""))
    assert moves(championship) == [("challenge", None, None), ("decline", None, None)]


@pytest.mark.parametrize("decide", ["approve", "decline"])
def test_who_saw_another_report_than_the_last_decides_nothing(registry, store, tmp_path, decide):
    name = f"seen-{decide}"
    make_versions(registry, store, name, tmp_path, 2)
    championship = Championship(registry, name)
    old = championship.challenge("2", Grounds("gates", "by the old gates"), expected=None)
    new = championship.challenge("2", Grounds("gates", "by the new", report_on(championship, "2")), expected=None)
    grounds = Grounds("a person", "read")
    with pytest.raises(GemError, match=f"version 2 of {name} was judged anew meanwhile"):
        getattr(championship, decide)("2", grounds, seen=old.hash)
    assert championship.waits("2")
    assert getattr(championship, decide)("2", grounds, seen=new.hash).who == "a person"


def test_only_the_champion_that_was_named_is_rolled_back(championship):
    for version, expected in (("1", None), ("2", "1"), ("3", "2")):
        promote(championship, version, expected)
    with pytest.raises(GemError, match="is version 3 by now, not version 2: nothing was rolled back"):
        championship.rollback(Grounds("a person", "slow"), to="1", leaving="2")
    assert championship.rollback(Grounds("a person", "slow"), to="1", leaving="3").to_version == "1"


def test_a_shadow_runs_beside_the_champion(registry, championship, name):
    promote(championship, "1", None)
    move = championship.shadow("2", Grounds("gates", "passed"), expected="1")
    assert championship.shadow("2", Grounds("gates", "passed"), expected="1") == move
    assert (registry.get(name, "shadow").version, champion_of(registry, name)) == ("2", "1")
    promote(championship, "shadow", "1")
    assert registry.get(name, "2").aliases == ("champion",)


# --- reports that speak for another promotion ---


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"verdict": "fail"}, "says 'fail'"),
        ({"verdict": "inconclusive"}, "says 'inconclusive'"),
        ({"verdict": None}, "says None"),
        ({"candidate": "1" * 64}, "is about other weights than the candidate's, .* version 2"),
        ({"champion": "1" * 64}, "is about other weights than the champion's"),
        ({"candidate": None}, "names no candidate, which is .* version 2: not promoted; judge it again"),
        ({"champion": None}, "names no champion, which is .* version 1"),
    ],
)
def test_a_report_has_to_speak_for_the_promotion(registry, store, tmp_path, report, message):
    name = f"speaks-{sorted(report.items())}".translate(str.maketrans("", "", "[](){}',: ")).lower()[:50]
    make_versions(registry, store, name, tmp_path, 2)
    championship = Championship(registry, name)
    promote(championship, "1", None)
    before = championship.history()
    right = report_on(championship, "2", "1")
    with pytest.raises(GemError, match=message):
        championship.promote("2", Grounds("tests", "", right | report), expected="1")
    if "verdict" not in report:  # who waits for a person may have failed to convince
        for present in (championship.challenge, championship.shadow):
            with pytest.raises(GemError, match=message):
                present("2", Grounds("tests", "", right | report), expected="1")
    assert championship.history() == before
    championship.promote("2", Grounds("tests", "", right), expected="1")


def test_a_report_against_a_champion_is_none_on_a_first_model(championship):
    report = report_on(championship, "2", "1")
    with pytest.raises(GemError, match="compares with a champion, and there is none: not promoted"):
        championship.promote("2", Grounds("tests", "", report), expected=None)
    assert moves(championship) == []


def test_a_move_fits_where_postgres_keeps_it(registry, championship, name):
    """A registered model's tag holds 5,000 characters there, and any number elsewhere."""
    results = [{"name": f"gate-{n}", "reason": "a long reason " * 20} for n in range(99)]
    report = report_on(championship, "2", results=results)
    championship.promote("2", Grounds("tests", '"ö" ' * 3000, report), expected=None)
    tags = registry.client.get_registered_model(name).tags
    assert max(map(len, tags.values())) < 5000
    assert championship.report(championship.history()[-1]) == report
    assert championship.faults() == []


# --- crashes and other hands ---


class CrashError(Exception):
    pass


WRITES = ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias")
COMMANDS = {
    "promote": (
        ("log", "champion", "challenger", "mark"),
        "2",
        lambda championship: promote(championship, "2", "1"),
    ),
    "approve": (
        ("log", "champion", "challenger", "mark"),
        "2",
        lambda championship: championship.approve("2", Grounds("a person", "better")),
    ),
    "challenge": (
        ("log", "challenger", "mark"),
        "1",
        lambda championship: championship.challenge("3", Grounds("gates", "passed"), expected="1"),
    ),
    "decline": (
        ("log", "challenger", "mark"),
        "1",
        lambda championship: championship.decline("2", Grounds("a person", "no")),
    ),
    "rollback": (
        ("log", "champion", "mark"),
        "4",
        lambda championship: championship.rollback(Grounds("a person", "worse")),
    ),
}


@pytest.mark.parametrize("action", COMMANDS)
def test_a_crash_between_any_two_writes_is_repaired_by_the_next_command(registry, store, tmp_path, action):
    """Killed processes are in test_promotion_processes.py; here each command crashes before each of its writes."""
    steps, champion, command = COMMANDS[action]
    name = f"crash-{action}"
    make_versions(registry, store, name, tmp_path, 4)
    championship = Championship(registry, name)
    promote(championship, "4", None)
    promote(championship, "1", "4")
    for survived in range(len(steps)):
        championship.challenge("2", Grounds("tests", f"waits {survived}"), expected="1")
        crashing, left = Registry(store), [survived]

        def failing(write, left=left):
            def call(*arguments):
                if left[0] == 0:
                    raise CrashError
                left[0] -= 1
                return write(*arguments)

            return call

        client = type(crashing.client)(store.mlflow_uri, store.mlflow_uri)
        for write in WRITES:
            setattr(client, write, failing(getattr(client, write)))
        crashing.__dict__["client"] = client
        logged = len(championship.history())
        with pytest.raises(CrashError):
            command(Championship(crashing, name))
        assert champion_of(registry, name) == (champion if survived > 1 and champion != "1" else "1")
        command(championship)  # the command again: finishes it, or finds it done, and never twice
        assert champion_of(registry, name) == champion
        assert [move.action for move in championship.history()[logged:]] == [action], steps[survived]
        assert championship.faults() == []
        if champion != "1":
            promote(championship, "1", champion)


def test_a_move_by_other_hands_is_found_and_logged(registry, championship, name):
    promote(championship, "1", None)
    registry.client.set_registered_model_alias(name, CHAMPION, "3")
    with pytest.raises(GemError, match="is version 3 by now, not version 1"):
        promote(championship, "2", "1")
    assert moves(championship)[-1] == ("outside", "1", "3")
    promote(championship, "2", "3")
    registry.client.delete_registered_model_alias(name, CHAMPION)
    championship.repair()
    championship.repair()
    assert moves(championship)[-2:] == [("promote", "3", "2"), ("outside", "2", None)]
    assert broken_link(championship.history()) is None


def test_a_damaged_log_stops_every_move(registry, championship, name):
    promote(championship, "1", None)
    last = championship.history()[-1]
    forged = last.model_copy(update={"reason": "nothing to see here"})
    registry.client.set_registered_model_tag(name, f"gem.move.{last.number:06d}", forged.model_dump_json())
    with pytest.raises(GemError, match=rf"move {last.number} was changed"):
        promote(championship, "2", "1")
    assert champion_of(registry, name) == "1"


def test_a_rollback_passes_over_versions_that_were_deleted(registry, championship, name):
    for version, before in (("1", None), ("2", "1"), ("3", "2")):
        promote(championship, version, before)
    registry.client.delete_model_version(name, "2")
    move = championship.rollback(Grounds("tests", "bad"))
    assert (move.from_version, move.to_version) == ("3", "1")
    registry.client.delete_model_version(name, "3")
    promote(championship, "4", "1")
    registry.client.delete_model_version(name, "1")
    with pytest.raises(GemError, match="has had no champion before version 4"):
        championship.rollback(Grounds("tests", "bad"))
    assert championship.faults() == []
    assert champion_of(registry, name) == "4"


@pytest.mark.parametrize("action", ["rollback", "challenge"])
def test_a_move_to_a_version_that_is_gone_blocks_no_other(registry, store, tmp_path, monkeypatch, action):
    name = f"gone-{action}"
    make_versions(registry, store, name, tmp_path, 4)
    championship = Championship(registry, name)
    for version, before in (("1", None), ("2", "1"), ("3", "2")):
        promote(championship, version, before)
    moving = {
        "rollback": lambda: championship.rollback(Grounds("tests", "bad")),
        "challenge": lambda: championship.challenge("2", Grounds("tests", "passed"), expected="3"),
    }
    with monkeypatch.context() as patch:  # a crash between the log entry and the alias
        patch.setattr(type(registry.client), "set_registered_model_alias", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            moving[action]()
    registry.client.delete_model_version(name, "2")
    promote(championship, "4", "3")
    assert championship.faults() == []
    assert champion_of(registry, name) == "4"
    assert championship.rollback(Grounds("tests", "bad")).to_version == "3"


@pytest.mark.parametrize("alias", ["challenger", "shadow"])
def test_a_version_that_is_refused_anew_waits_no_more(registry, store, tmp_path, alias):
    name = f"refused-anew-{alias}"
    make_versions(registry, store, name, tmp_path, 2)
    championship = Championship(registry, name)
    promote(championship, "1", None)
    present = championship.challenge if alias == "challenger" else championship.shadow
    present("2", Grounds("tests", "passed", report_on(championship, "2", "1")), expected="1")
    assert registry.get(name, "2").aliases == (alias,)
    championship.refuse("2", Grounds("tests", "fails by stricter gates", {"verdict": "fail"}))
    assert registry.get(name, "2").aliases == ()
    with pytest.raises(GemError, match="does not wait for an approval"):
        championship.approve("2", Grounds("tests", "by the old report"))
    assert championship.faults() == []
    registry.client.set_registered_model_alias(name, alias, "2")  # as a crash before the last step leaves it
    championship.repair()
    assert registry.get(name, "2").aliases == ()
    assert champion_of(registry, name) == "1"


@pytest.mark.parametrize("written", ["moved by hand", '{"number": 5, "action": "crown"}'], ids=["text", "unknown"])
def test_an_entry_that_is_none_is_said_in_one_line(registry, store, tmp_path, written):
    name = f"no-entry-{len(written)}"
    make_versions(registry, store, name, tmp_path, 2)
    registry.client.set_registered_model_tag(name, "gem.move.000002", written)
    championship = Championship(registry, name)
    for ask in (championship.history, championship.faults, championship.repair):
        with pytest.raises(GemError, match=r"^the log is damaged: gem\.move\.000002 is no entry") as said:
            ask()
        assert "\n" not in str(said.value)


def test_a_report_longer_than_a_tag_is_kept_whole(registry, championship, name):
    results = [{"gate": f"gate-{number}", "reason": "x" * 1000} for number in range(200)]
    report = report_on(championship, "1", results=results)
    move = championship.promote("1", Grounds("tests", "", report), expected=None)
    assert championship.report(move) == report
    assert championship.faults() == []
    digest = move.report["digest"]
    registry.client.set_model_version_tag(name, "1", f"gem.report.{digest[:16]}.1", "y")
    assert championship.faults() == ["the gate report of move 5 is changed"]


def test_faults_are_named_and_not_mended(registry, championship, name):
    championship.promote("1", Grounds("tests", "", report_on(championship, "1")), expected=None)
    assert championship.faults() == []
    client = registry.client
    client.set_registered_model_alias(name, CHAMPION, "3")
    client.set_registered_model_alias(name, "Champion", "2")
    digest = championship.history()[-1].report["digest"]
    for changed in ('{"verdict":"fail"}', "looked good to me"):
        client.set_model_version_tag(name, "1", f"gem.report.{digest[:16]}", changed)
        assert championship.faults() == [
            "the gate report of move 5 is changed",
            "the champion is 3, and the log says 1",
            "the alias 'Champion' was set by other means and is not read by gem",
        ]
    client.delete_registered_model_tag(name, "gem.move.000002")
    assert championship.faults()[0] == "the log is damaged: move 2 is missing"


def test_a_log_that_lost_its_end_is_damaged(registry, championship, name):
    """Nothing in the chain itself tells: each of the entries that are left follows the one before."""
    promote(championship, "1", None)
    lost = promote(championship, "2", "1")
    registry.client.delete_registered_model_tag(name, f"gem.move.{lost.number:06d}")
    registry.client.set_registered_model_alias(name, CHAMPION, "1")
    assert championship.faults() == [f"the log is damaged: move {lost.number} is missing"]
    with pytest.raises(GemError, match=rf"damaged \(move {lost.number} is missing\): nothing is moved"):
        promote(championship, "3", "1")
    assert champion_of(registry, name) == "1"


def test_a_damaged_log_is_not_carried_out_either(registry, championship, name, monkeypatch):
    promote(championship, "1", None)
    with monkeypatch.context() as patch:  # a crash between the log entry and the alias
        patch.setattr(type(registry.client), "set_registered_model_alias", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            promote(championship, "2", "1")
    last = championship.history()[-1]
    forged = last.model_copy(update={"version": "3", "to_version": "3"})
    registry.client.set_registered_model_tag(name, f"gem.move.{last.number:06d}", forged.model_dump_json())
    championship.repair()
    assert champion_of(registry, name) == "1"


def test_a_mark_that_is_no_number_is_said_in_one_line(registry, championship, name):
    registry.client.set_registered_model_tag(name, "gem.moves_done", "all of them")
    for ask in (championship.faults, championship.repair):
        with pytest.raises(GemError, match=r"^the log is damaged: gem\.moves_done is 'all of them'"):
            ask()


def test_a_crash_while_a_move_by_other_hands_is_logged_is_repaired(registry, championship, name, monkeypatch):
    promote(championship, "1", None)
    with monkeypatch.context() as patch:  # a crash between the log entry and the alias
        patch.setattr(type(registry.client), "set_registered_model_alias", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            promote(championship, "2", "1")
    registry.client.set_registered_model_alias(name, CHAMPION, "3")
    with monkeypatch.context() as patch:  # and another between what was found and the mark
        patch.setattr("gem_core.records.standing.Standing._mark_done", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            championship.repair()
    championship.repair()
    assert championship.faults() == []
    registry.client.set_registered_model_alias(name, CHAMPION, "1")
    championship.repair()
    assert champion_of(registry, name) == "1", "the interrupted promotion was overtaken, and is not finished later"
    assert moves(championship)[-2:] == [("outside", "2", "3"), ("outside", "3", "1")]


@pytest.mark.parametrize("alias", ["1", "Champion", "CHAMPION", "2"])
def test_an_alias_that_mlflow_takes_and_gem_should_not(registry, store, tmp_path, alias):
    name = f"alias-{alias.lower()}{alias.isupper():d}"
    make_versions(registry, store, name, tmp_path, 2)
    registry.client.set_registered_model_alias(name, alias, "2" if alias == "1" else "1")
    assert registry.champion(name) is None
    if alias.isdigit():
        assert registry.get(name, alias).version == alias, "a number is a version"
    with pytest.raises(GemError, match="names no registered model"):
        registry.download_uri(f"models:/{name}@{alias}")


# --- the log by itself ---


def chain(entries):
    log, before = [], ""
    for number, (action, to) in enumerate(entries, start=1):
        move = Move(
            number=number, action=action, version=to, from_version=None, to_version=to, who="a",
            when=datetime.now(UTC), reason="", previous=before,
        ).sealed()  # fmt: skip
        log.append(move)
        before = move.hash
    return log


@given(
    st.lists(st.tuples(st.sampled_from(["promote", "refuse", "rollback"]), st.sampled_from("123")), max_size=8),
    st.data(),
)
def test_any_change_of_a_log_shows(entries, data):
    log = chain(entries)
    assert broken_link(log) is None
    tags = {f"gem.move.{move.number:06d}": move.model_dump_json() for move in log}
    assert read_log({**tags, "gem.other": "x"}) == log
    if not log:
        return
    at = data.draw(st.integers(0, len(log) - 1))
    changed = log[at].model_copy(update={"who": "somebody else"})
    assert broken_link([*log[:at], changed, *log[at + 1 :]]) is not None
    assert broken_link([*log[:at], changed.sealed(), *log[at + 1 :]]) is not None or at == len(log) - 1
    assert broken_link([*log[:at], *log[at + 1 :]]) is not None or at == len(log) - 1


@given(st.lists(st.tuples(st.sampled_from(["promote", "rollback", "outside"]), st.sampled_from("123")), min_size=1))
def test_the_last_reign_is_the_champion_and_no_two_neighbours_are_equal(entries):
    stack = reigns(chain(entries))
    assert stack[-1] == entries[-1][1]
    assert all(one != two for one, two in pairwise(stack))


def test_whoever_waits_too_long_for_the_lock_is_told(registry, name, monkeypatch):
    monkeypatch.setattr("gem_core.records.promotion.LOCK_SECONDS", 0.1)
    one, two = (Championship(registry, name) for _ in range(2))
    with one.locked(), pytest.raises(GemError, match="another promotion of"):
        two.repair()
