"""The flow by name: base model, data and benchmarks from a hub, with no code of ours standing in for them."""

import json

import pytest

from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings

pytestmark = [pytest.mark.hub, pytest.mark.long]

SHORT = (
    "data.sources.0.rows=640",
    "training.steps=12",
    "training.batch_size=32",
    "evaluation.embedding.tasks=[STSBenchmark]",
    "evaluation.language.tasks=[blimp_passive_1]",
    "evaluation.language.limit=200",
)


def test_a_recipe_of_public_names_ends_with_a_judged_version(online):
    ended = online("run", "english-12m", *(part for one in SHORT for part in ("--set", one)), "--json", timeout=600)
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    settings = Settings(home=online.home, tracking_uri=None)
    version = Registry(settings).get("english-12m", outcome["version"])
    assert version.lineage.base_model == "gem-lab/english-12m"
    assert version.verdict == outcome["report"]["verdict"]
    metrics = Tracking(settings.mlflow_uri).run(outcome["mlflow_run"]).metrics
    assert metrics["base.embedding.STSBenchmark"] == pytest.approx(29.36, abs=0.1)  # mteb's own wrapper: 29.356
    assert "candidate.embedding.STSBenchmark" in metrics
    assert metrics["candidate.language"] == metrics["base.language"]  # lossless: not a question was answered otherwise
