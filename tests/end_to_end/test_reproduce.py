"""``gem reproduce`` on a version that was trained without Ray and Prefect: the same recipe is the same weights."""

import json

import pytest
import torch

from flows import lineage, recipes
from flows.run import Run
from gem_core.method import training
from gem_core.records.registration import register
from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings
from gem_core.sources import data, models
from gem_core.sources.rows import Rows
from ray_jobs.jobs import Trained

pytestmark = pytest.mark.long

TWO_STEPS = (
    "name=twice",
    "training.steps=2",
    "training.batch_size=8",
    "objective.contrastive_start=1",
    "evaluation.embedding.tasks=[]",
    "evaluation.language.tasks=[]",
    "gates=[]",
    "resources.workers=1",
)


@pytest.fixture
def version(gem, tmp_path):
    """A registered version, trained in this process."""
    settings = Settings(home=gem.home, tracking_uri=None)
    recipe = recipes.load("sandbox", TWO_STEPS)
    base = models.resolve(recipe.base_model, settings)
    prepared = data.prepare(recipe.data, base, seed=recipe.seed, folder=tmp_path / "data", settings=settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.resources.cpus_per_worker)
    result = training.train(recipe, base, Rows.open(prepared.folder), report=lambda _: None, output=tmp_path / "model")
    torch.set_num_threads(threads)
    trained = Trained(
        steps=result.steps, seconds=result.seconds, tokens=result.tokens, digest=result.digest, final=result.final
    )
    run_id = Tracking(settings.mlflow_uri).start_run("twice", "by hand", {})
    made_of = lineage.gather(Run(recipe, base, settings), prepared, trained, None)
    registry = Registry(settings)
    return register(registry, "twice", tmp_path / "model", run_id, made_of, who="tests", digest=trained.digest)


def test_a_version_is_made_again_from_what_the_registry_knows(gem, version):
    ended = gem("reproduce", "twice", version.version, "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["verdict"], found["made"]) == ("identical", version.digest)
    assert found["changed"] == {}
    assert len(Registry(Settings(home=gem.home, tracking_uri=None)).versions("twice")) == 1
