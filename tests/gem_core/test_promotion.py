import multiprocessing
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gem_core.errors import GemError
from gem_core.lineage import Lineage
from gem_core.promotion import CHAMPION, Championship, Move, broken_link, read_log, reigns
from gem_core.registry import Registry
from gem_core.settings import Settings
from gem_core.tracking import Tracking

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


def make_versions(registry, store, name, folder, count):
    run_id = Tracking(store.mlflow_uri).start_run("runs", name, {})
    for number in range(1, count + 1):
        model = folder / f"model-{number}"
        model.mkdir()
        (model / "config.json").write_text(f'{{"name": "{name}", "number": {number}}}')
        registry.register(name, model, run_id, LINEAGE, who="tests")


def champion_of(registry, name):
    found = registry.champion(name)
    return found and found.version


def moves(registry, name):
    """(action, from, to) of every move that is not a registration."""
    return [(m.action, m.from_version, m.to_version) for m in registry.history(name) if m.action != "register"]


def promote(registry, name, version, expected):
    return registry.promote(name, version, expected=expected, who="tests", reason=f"{expected} to {version}")


def test_a_promotion_moves_the_alias_and_is_logged(registry, name):
    report = {"verdict": "pass", "results": [{"name": "gain", "difference": 15.0}]}
    move = registry.promote(name, "2", expected=None, who="somebody", reason="it is better", report=report)
    assert champion_of(registry, name) == "2"
    assert registry.history(name)[-1] == move
    assert (move.action, move.version, move.from_version, move.to_version) == ("promote", "2", None, "2")
    assert (move.who, move.reason, move.report) == ("somebody", "it is better", report)
    assert move.when.tzinfo is not None
    assert broken_link(registry.history(name)) is None


@pytest.mark.parametrize(("champion", "expected"), [(None, "1"), ("1", None), ("1", "2")])
def test_a_champion_other_than_expected_refuses(registry, store, tmp_path, champion, expected):
    name = f"refusing-{champion}-{expected}".lower()
    make_versions(registry, store, name, tmp_path, 3)
    if champion:
        promote(registry, name, champion, None)
    before = registry.history(name)
    with pytest.raises(GemError, match=r"by now, not .* version 3 was not promoted"):
        promote(registry, name, "3", expected)
    assert (champion_of(registry, name), registry.history(name)) == (champion, before)


def test_asking_again_after_a_crash_is_answered_with_the_move_that_did_it(registry, name):
    promote(registry, name, "1", None)
    move = promote(registry, name, "2", "1")
    assert promote(registry, name, "2", "1") == move
    assert moves(registry, name) == [("promote", None, "1"), ("promote", "1", "2")]
    with pytest.raises(GemError, match="already is its champion"):
        promote(registry, name, "2", "2")


def test_a_version_that_is_not_there_cannot_be_promoted(registry, name):
    with pytest.raises(GemError, match="has no version or alias '9'"):
        promote(registry, name, "9", None)


def test_a_challenger_waits_and_is_none_once_promoted(registry, name):
    registry.challenge(name, "2", who="gates", reason="passed, waits for a person")
    assert registry.get(name, "challenger").version == "2"
    assert champion_of(registry, name) is None
    promote(registry, name, "challenger", None)
    assert champion_of(registry, name) == "2"
    with pytest.raises(GemError, match="no version or alias 'challenger'"):
        registry.get(name, "challenger")
    assert moves(registry, name) == [("challenge", None, None), ("promote", None, "2")]


def test_a_refusal_is_logged_and_moves_nothing(registry, name):
    promote(registry, name, "1", None)
    registry.refuse(name, "2", who="gates", reason="language lost 2 points", report={"verdict": "fail"})
    assert champion_of(registry, name) == "1"
    last = registry.history(name)[-1]
    assert (last.action, last.version, last.to_version, last.report) == ("refuse", "2", "1", {"verdict": "fail"})


def test_rolling_back_goes_through_earlier_champions(registry, name):
    for version, expected in (("1", None), ("2", "1"), ("4", "2")):
        promote(registry, name, version, expected)
    assert registry.rollback(name, who="tests", reason="slow").to_version == "2"
    assert registry.rollback(name, who="tests", reason="worse").to_version == "1"
    with pytest.raises(GemError, match="has had no champion before version 1"):
        registry.rollback(name, who="tests", reason="again")
    promote(registry, name, "3", "1")
    assert registry.rollback(name, who="tests", reason="back").to_version == "1"
    assert champion_of(registry, name) == "1"
    assert broken_link(registry.history(name)) is None


def test_rolling_back_to_a_named_version(registry, name):
    promote(registry, name, "1", None)
    promote(registry, name, "3", "1")
    assert registry.rollback(name, who="tests", reason="known good", to="2").to_version == "2"
    with pytest.raises(GemError, match="already is its champion"):
        registry.rollback(name, who="tests", reason="again", to="champion")
    with pytest.raises(GemError, match="no version or alias '9'"):
        registry.rollback(name, who="tests", reason="again", to="9")
    assert registry.rollback(name, who="tests", reason="on").to_version == "3"


def test_nothing_to_roll_back(registry, name):
    with pytest.raises(GemError, match="no champion before nobody"):
        registry.rollback(name, who="tests", reason="?")


# --- crashes and other hands ---


class CrashError(Exception):
    pass


WRITES = ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias")


@pytest.mark.parametrize("survived", range(5))
def test_a_crash_between_any_two_writes_is_repaired_by_the_next_command(registry, store, tmp_path, survived):
    """Log entry, alias, challenger, mark: dies before the first, ..., after the last."""
    name = f"crash-after-{survived}"
    make_versions(registry, store, name, tmp_path, 3)
    promote(registry, name, "1", None)
    registry.challenge(name, "2", who="tests", reason="waits")
    crashing = Registry(store)
    left = [survived]

    def failing(write):
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
    try:
        promote(crashing, name, "2", "1")
        assert survived == 4
    except CrashError:
        assert survived < 4
    registry.repair(name)
    done = survived > 0
    assert (registry.client.get_registered_model(name).aliases.get("challenger") is None) == done
    assert champion_of(registry, name) == ("2" if done else "1")
    assert ("promote", "1", "2") in moves(registry, name) or not done
    assert "outside" not in [move.action for move in registry.history(name)]
    promote(registry, name, "2", "1")  # the command again: does it, or finds it done
    assert champion_of(registry, name) == "2"
    assert moves(registry, name).count(("promote", "1", "2")) == 1
    assert broken_link(registry.history(name)) is None


def test_a_move_by_other_hands_is_found_and_logged(registry, name):
    promote(registry, name, "1", None)
    registry.client.set_registered_model_alias(name, CHAMPION, "3")
    with pytest.raises(GemError, match="is version 3 by now, not version 1"):
        promote(registry, name, "2", "1")
    assert moves(registry, name)[-1] == ("outside", "1", "3")
    promote(registry, name, "2", "3")
    registry.client.delete_registered_model_alias(name, CHAMPION)
    registry.repair(name)
    registry.repair(name)
    assert moves(registry, name)[-2:] == [("promote", "3", "2"), ("outside", "2", None)]
    assert broken_link(registry.history(name)) is None


def test_a_damaged_log_stops_every_move(registry, name):
    promote(registry, name, "1", None)
    last = registry.history(name)[-1]
    forged = last.model_copy(update={"reason": "nothing to see here"})
    registry.client.set_registered_model_tag(name, f"gem.move.{last.number:06d}", forged.model_dump_json())
    with pytest.raises(GemError, match=rf"move {last.number} was changed"):
        promote(registry, name, "2", "1")
    assert champion_of(registry, name) == "1"


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


# --- many at once ---


ROUNDS = 6


def compete(home, name, own, barrier, answers):
    """One process: in every round, try to promote its own version over the champion that all of them saw."""
    settings = Settings(home=home, tracking_uri=None)
    registry = Registry(settings)
    for round_ in range(ROUNDS):
        barrier.wait(timeout=300)
        seen = champion_of(registry, name)
        barrier.wait(timeout=300)
        version = str(own + 3 * (round_ % 2))  # two versions each, so that nobody promotes what already is champion
        try:
            promote(registry, name, version, seen)
            answers.put((round_, version, True))
        except GemError:
            answers.put((round_, version, False))


@pytest.mark.slow
def test_of_many_processes_exactly_one_wins_each_round(tmp_path):
    settings = Settings(home=tmp_path / "home", tracking_uri=None)
    registry = Registry(settings)
    make_versions(registry, settings, "contest", tmp_path, 6)
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=compete, args=(settings.home, "contest", own, barrier, answers)) for own in (1, 2, 3)
    ]
    for process in processes:
        process.start()
    given = [answers.get(timeout=400) for _ in range(3 * ROUNDS)]
    for process in processes:
        process.join(timeout=60)
    winners = {round_: [version for r, version, won in given if r == round_ and won] for round_ in range(ROUNDS)}
    assert all(len(won) == 1 for won in winners.values()), winners
    log = [move for move in registry.history("contest") if move.action == "promote"]
    assert [move.to_version for move in log] == [winners[round_][0] for round_ in range(ROUNDS)]
    assert broken_link(registry.history("contest")) is None
    assert champion_of(registry, "contest") == winners[ROUNDS - 1][0]


def test_whoever_waits_too_long_for_the_lock_is_told(registry, name, tmp_path, monkeypatch):
    monkeypatch.setattr("gem_core.promotion.LOCK_SECONDS", 0.1)
    lock = tmp_path / "locks" / "one.lock"
    one, two = (Championship(registry.client, name, lock) for _ in range(2))
    with one.locked(), pytest.raises(GemError, match="another promotion of"):
        two.repair()
