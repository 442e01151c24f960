"""Promotions by real processes: killed at every step, and many at once."""

import multiprocessing
import os
import shutil

import pytest

from gem_core.errors import GemError
from gem_core.records.lineage import Lineage
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import Grounds, broken_link
from gem_core.records.registration import register
from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings

LINEAGE = Lineage(base_model="b", base_revision="r", base_digest="d", data_digest="d", recipe={}, recipe_digest="r")
pytestmark = pytest.mark.slow
WRITES = ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias")
KILLED = 77

processes = multiprocessing.get_context("forkserver")
# imported once for all of them
processes.set_forkserver_preload(["gem_core.records.registry", "gem_core.records.tracking", "mlflow"])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A home with a model of nine versions, the first of them champion."""
    home = tmp_path_factory.mktemp("gem")
    settings = Settings(home=home, tracking_uri=None)
    make_versions(settings, home, 9)
    registry = Registry(settings)
    championship(registry).promote("1", Grounds("tests", "first"), expected=None)
    championship(registry).challenge("2", Grounds("tests", "waits"), expected="1")
    return home


def make_versions(settings, folder, count):
    registry = Registry(settings)
    run_id = Tracking(settings.mlflow_uri).start_run("runs", "model", {})
    for number in range(1, count + 1):
        model = folder / f"model-{number}"
        model.mkdir()
        (model / "config.json").write_text(f'{{"number": {number}}}')
        register(registry, "model", model, run_id, LINEAGE, who="tests")


@pytest.fixture
def home(prepared, tmp_path):
    """A copy of it, which a test may spoil."""
    shutil.copytree(prepared, tmp_path / "gem")
    return tmp_path / "gem"


def championship(registry):
    return Championship(registry, "model")


def champion_of(registry):
    found = registry.champion("model")
    return found and found.version


# --- killed ---


def promotion(registry):
    candidate, champion = (registry.get("model", version).digest for version in ("2", "1"))
    report = {"verdict": "pass", "candidate": candidate, "champion": champion}
    return championship(registry).promote("2", Grounds("tests", "better", report), expected="1")


def killed_after(home, writes):
    """Run a command and die at once, by no exception that anything could catch, when it would write once more."""
    left = writes
    registry = Registry(Settings(home=home, tracking_uri=None))

    def dying(write):
        def call(*arguments):
            nonlocal left
            if left == 0:
                os._exit(KILLED)
            left -= 1
            return write(*arguments)

        return call

    for name in WRITES:
        setattr(registry.client, name, dying(getattr(registry.client, name)))
    promotion(registry)


STEPS = ("log", "champion", "challenger", "mark")


@pytest.mark.parametrize("survived", range(len(STEPS) + 1), ids=lambda n: f"before {(*STEPS, 'the end')[n]}")
def test_killed_before_any_step_the_next_command_repairs_it(home, survived):
    settings = Settings(home=home, tracking_uri=None)
    process = processes.Process(target=killed_after, args=(home, survived))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == (KILLED if survived < len(STEPS) else 0)
    registry = Registry(settings)
    half_done = 0 < survived < len(STEPS)
    assert bool(championship(registry).faults()) == half_done
    championship(registry).repair()
    assert championship(registry).faults() == []
    assert champion_of(registry) == ("2" if survived else "1")
    assert championship(registry).waits("2") == (not survived)
    promotion(registry)  # the command again: does it, or finds it done, and never twice
    assert champion_of(registry) == "2"
    assert [move.action for move in championship(registry).history()].count(
        "promote"
    ) == 2  # the first champion's, and this
    assert championship(registry).faults() == []


# --- many at once ---


def compete(home, uri, own, rounds, barrier, answers):
    """In every round, try to promote a version of its own over the champion that all of them saw."""
    registry = Registry(Settings(home=home, tracking_uri=uri))
    for round_ in range(rounds):
        barrier.wait(timeout=300)
        seen = champion_of(registry)
        barrier.wait(timeout=300)
        others = [str(number) for number in range(1, 10) if str(number) != seen]
        version = others[(own + round_) % len(others)]
        try:
            championship(registry).promote(version, Grounds(f"process {own}", f"round {round_}"), expected=seen)
            answers.put((round_, version, ""))
        except GemError as error:
            answers.put((round_, version, str(error)))


def contest(home, uri, rounds, competitors=8):
    """Who won each round, by what the processes were told."""
    barrier, answers = processes.Barrier(competitors), processes.Queue()
    started = [
        processes.Process(target=compete, args=(home, uri, own, rounds, barrier, answers)) for own in range(competitors)
    ]
    for process in started:
        process.start()
    told = [answers.get(timeout=400) for _ in range(competitors * rounds)]
    for process in started:
        process.join(timeout=60)
    losers = [why for _, _, why in told if why]
    assert all("by now, not" in why for why in losers), set(losers)
    return [[version for r, version, why in told if r == round_ and not why] for round_ in range(rounds)]


def check_contest(registry, winners, before):
    assert all(len(won) == 1 for won in winners), winners
    log = championship(registry).history()
    assert [move.to_version for move in log[before:]] == [won[0] for won in winners], "nothing lost, nothing twice"
    assert broken_link(log) is None
    assert champion_of(registry) == winners[-1][0]
    assert championship(registry).faults() == []


def test_of_eight_processes_exactly_one_wins_each_round(home):
    registry = Registry(Settings(home=home, tracking_uri=None))
    before = len(championship(registry).history())
    check_contest(registry, contest(home, None, 2), before)  # benchmarks/promotion_contest.py: 50, also on PostgreSQL
