"""The whole path, truly: a Prefect flow, Ray workers, mteb, lm-eval, MLflow; run, rerun, used, killed, interrupted."""

import json
import os
import signal
import time

import psutil
import pytest

from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first(gem):
    """The first run of a home: nothing is known but the sandbox."""
    ended = gem(*gem.short_run())
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture
def settings(gem):
    return Settings(home=gem.home, tracking_uri=None)


def test_a_run_ends_with_a_judged_version_and_its_lineage(first, settings):
    version = Registry(settings).get("sandbox", first["version"])
    assert version.digest == first["digest"]
    assert version.lineage.base_model == "sandbox:2"
    assert version.lineage.recipe["training"]["steps"] == 40
    assert version.lineage.data_digest
    assert version.lineage.flow_run
    assert version.lineage.base_license == "apache-2.0"
    assert version.lineage.worker_seconds > version.lineage.training_seconds > 0  # two workers
    assert version.verdict == first["report"]["verdict"]
    assert version.scores.keys() >= {"embedding", "language"}


def test_scores_and_training_are_in_the_one_mlflow_run(first, settings):
    tracking = Tracking(settings.mlflow_uri)
    run = tracking.run(first["mlflow_run"])
    assert run.status == "FINISHED"
    assert run.metrics.keys() >= {"base.embedding", "candidate.embedding", "base.language", "candidate.language"}
    steps = [step for step, _ in tracking.series(first["mlflow_run"], "contrastive_loss")]
    assert steps == sorted(set(steps))
    for name in ("recipe.yaml", "gate_report.json", "model_card.md", "scores/candidate.json"):
        assert tracking.read_artifact(first["mlflow_run"], name)


def test_every_gate_has_a_verdict_and_a_reason(first):
    assert first["report"]["results"]
    for result in first["report"]["results"]:
        assert result["verdict"] in {"pass", "fail", "inconclusive"}
        assert result["reason"]
    assert first["report"]["verdict"] == "pass"
    assert first["decision"]["promoted"]


@pytest.mark.long
def test_a_rerun_does_nothing_again(gem, first):
    ended = gem(*gem.short_run())
    assert ended.returncode == 0, ended.stderr
    again = json.loads(ended.stdout)
    assert (again["version"], again["digest"]) == (first["version"], first["digest"])
    assert again["seconds"]["training"] == 0
    assert again["seconds"]["scoring"] == 0


def test_the_version_embeds_and_generates_by_its_registry_name(gem, first):
    model = f"models:/sandbox/{first['version']}"
    encoded = gem("encode", model, "a text", "another text", "--json")
    rows = json.loads(encoded.stdout)
    assert [row["text"] for row in rows] == ["a text", "another text"]
    assert sum(value * value for value in rows[0]["embedding"]) == pytest.approx(1, abs=1e-4)
    generated = json.loads(gem("generate", model, "The", "--max-tokens", 5, "--json").stdout)
    assert generated["continuation"]


def test_known_scores_are_compared_without_measuring(gem, first):
    begin = time.monotonic()
    ended = gem("compare", "sandbox:2", f"models:/sandbox/{first['version']}", "--suite", "sandbox", "--json")
    compared = json.loads(ended.stdout)
    assert compared["first"]["digest"] == first["comparison"]["baseline"]["model"]
    assert compared["second"]["digest"] == first["digest"]
    assert {row["level"] for row in compared["comparison"]["rows"]} == {"average", "task", "part"}
    assert time.monotonic() - begin < 60


def test_the_first_champion_has_nobody_to_be_rolled_back_to(gem, first, settings):
    version = first["version"]
    assert Registry(settings).champion("sandbox").version == version
    refused = gem("rollback", "sandbox")
    assert refused.returncode == 1
    assert "no champion before" in refused.stderr
    moves = json.loads(gem("history", "sandbox", "--json").stdout)
    assert moves[-1]["to_version"] == version


@pytest.mark.long
def test_an_interrupted_and_then_killed_run_is_taken_up_where_it_was(gem, first, settings):
    arguments = gem.short_run(
        "seed=5", "training.steps=240", "training.checkpoint_every=30", "evaluation.embedding.tasks=[SandboxSTS]"
    )
    versions = Registry(settings).versions("sandbox")

    process = gem.start(*arguments)
    gem.wait_for(lambda: len(_checkpoints(gem, 5)) > 1, what="two checkpoints")  # so that the first is complete
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert Registry(settings).versions("sandbox") == versions
    assert Tracking(settings.mlflow_uri).runs("sandbox")[0].status == "KILLED"
    assert not _cluster_processes(gem)

    known = _checkpoints(gem, 5)
    process = gem.start(*arguments)
    gem.wait_for(lambda: _checkpoints(gem, 5) - known, what="a further checkpoint")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    ended = gem(*arguments)
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    assert outcome["version"] != first["version"]
    steps = [step for step, _ in Tracking(settings.mlflow_uri).series(outcome["mlflow_run"], "loss")]
    assert set(steps) == set(range(1, 241))
    assert steps.count(1) == 1  # no training was begun anew
    assert len(steps) < 240 + 2 * 60  # twice broken off: what was done since a checkpoint is done, and logged, again


def _checkpoints(gem, seed) -> set[str]:
    """Names of the finished checkpoints of the run with this seed."""
    for job in gem.home.glob("runs/*/job.json"):
        if json.loads(job.read_text())["recipe"]["seed"] == seed:
            return {folder.name for folder in job.parent.glob("checkpoints/checkpoint_*")}
    return set()


def _cluster_processes(gem):
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(gem.home) in " ".join(process.info["cmdline"] or ()) and "ray" in " ".join(process.info["cmdline"])
    ]
