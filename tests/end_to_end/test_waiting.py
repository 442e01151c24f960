"""A run that waits for a person is killed and taken up again, and what the person decides counts in either case."""

import json
import os
import signal
import sqlite3
from contextlib import closing

import pytest

from gem_core.records.promotion import Championship
from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def registry(gem):
    return Registry(Settings(home=gem.home, tracking_uri=None))


def manual_run(gem, seed):
    """A short run that ends with a challenger, and waits an hour for its approval."""
    return gem.short_run(
        f"seed={seed}",
        "training.steps=20",
        "promotion=manual",
        "approval_hours=1",
        "gates.4.at_least=-100",
        "evaluation.embedding.tasks=[SandboxSTS]",
    )


def paused(gem):
    """How many flow runs wait, or died while they did, by Prefect's own records."""
    database = gem.prefect / "prefect.db"
    if not database.is_file():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute("SELECT count(*) FROM flow_run WHERE state_type = 'PAUSED'").fetchone()[0]
        except sqlite3.OperationalError:  # its tables are still being made
            return 0


def waiting(gem, process, forms):
    """Until so many flow runs are paused, this one among them."""
    gem.wait_for(lambda: paused(gem) == forms or process.poll() is not None, seconds=300, what="a paused flow run")
    if process.poll() is not None:
        pytest.fail(f"it did not wait: {process.communicate()}")


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_wait_is_taken_up_again_and_an_approval_ends_it(gem, registry):
    known = paused(gem)
    process = gem.start(*manual_run(gem, 7))
    waiting(gem, process, known + 1)
    kill(process)
    (version,) = (v.version for v in registry.versions("sandbox") if "challenger" in v.aliases)
    tracking = Tracking(registry.uri)
    log, versions, losses = (
        Championship(registry, "sandbox").history(),
        registry.versions("sandbox"),
        tracking.series(registry.get("sandbox", version).run_id, "loss"),
    )

    process = gem.start(*manual_run(gem, 7))
    waiting(gem, process, known + 2)  # the form of the dead one is still there
    assert Championship(registry, "sandbox").history() == log, "nothing was registered, judged or logged again"
    assert [v.version for v in registry.versions("sandbox")] == [v.version for v in versions]
    assert tracking.series(registry.get("sandbox", version).run_id, "loss") == losses, "nothing was trained again"

    approved = gem("approve", "sandbox", version, "--reason", "I read fifty of them")
    assert approved.returncode == 0, approved.stderr
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    outcome = json.loads(out)
    assert outcome["decision"]["promoted"]
    assert outcome["decision"]["sentence"].endswith("I read fifty of them")
    assert registry.champion("sandbox").version == version
    assert [move.action for move in Championship(registry, "sandbox").history()[len(log) :]] == ["approve"]
    assert paused(gem) == known, "no form is left that nobody would act on"


def test_an_approval_counts_while_no_flow_lives(gem, registry):
    process = gem.start(*manual_run(gem, 8))
    waiting(gem, process, paused(gem) + 1)
    kill(process)
    (version,) = (v.version for v in registry.versions("sandbox") if "challenger" in v.aliases)
    assert gem("approve", "sandbox", version, "--reason", "good").returncode == 0
    assert registry.champion("sandbox").version == version
    ended = gem(*manual_run(gem, 8))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["decision"]["promoted"]
    assert Championship(registry, "sandbox").faults() == []
