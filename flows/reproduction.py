"""Making a registered version again: its recipe at the pinned revisions, trained anew, held against the version."""

import shutil
from dataclasses import replace

from prefect import flow

from flows import lineage, steps
from flows.promotion import patient
from flows.run import Run
from flows.timing import Stopwatch
from gem_core.errors import GemError
from gem_core.evaluation.plan import plan
from gem_core.evaluation.store import ScoreStore
from gem_core.judging.comparison import ModelComparison, compare
from gem_core.records.registry import Registry
from gem_core.records.versions import Version
from gem_core.reproduction import MARGIN, Reproduction, changed_since, check_same, concluded, pinned
from gem_core.settings import Settings
from ray_jobs.jobs import Trained
from ray_jobs.submit import Cluster, cluster

AGAIN = "again"
REPRODUCES = "gem.reproduces"
"""The MLflow run's tag that says which version it made again."""


@flow(name="reproduce", flow_run_name="{name}-{version}", persist_result=True, result_serializer="json")
def reproduce(name: str, version: str, margin: float = MARGIN) -> Reproduction:
    """Train a version anew and say whether the same came out. Nothing is registered or promoted.

    An interrupted reproduction goes on where it stopped; a finished one is made anew. It waits for a registry that is
    down, as a post-training run does.

    Args:
        name: The registered model.
        version: Number or alias.
        margin: Points that the averages may lie apart where the weights differ.

    Raises:
        GemError: No such version, none of this platform, or base or rows cannot be had as they were.
    """
    settings, watch = Settings(), Stopwatch()
    found = find(settings, name, version)
    if found.lineage is None:
        raise GemError(f"{found.reference} was registered by another program: nothing is known of its making")
    recipe = pinned(found.lineage)
    with cluster(settings) as ray:
        run = replace(steps.resolve(recipe, settings, watch), again=AGAIN)
        check_same("base model", found.lineage.base_digest, run.base.digest)
        steps.estimate_cost(run)
        if Trained.find(run.folder) is not None:
            shutil.rmtree(run.folder)
        mlflow_run = steps.start_record(run, {REPRODUCES: found.reference})
        with steps.closing_record(run, mlflow_run):
            data = steps.prepare(run)
            check_same("training rows", found.lineage.data_digest, data.digest)
            trained = steps.train(run, data, mlflow_run, ray)
            same = trained.digest == found.digest
            return concluded(
                found.reference,
                found.digest,
                trained.digest,
                str(run.model),
                changed=changed_since(found.lineage, lineage.gather(run, data, trained, found.lineage.parent)),
                comparison=None if same else _compare(run, found, trained, ray),
                margin=margin,
            )


@steps.repeatable
@patient
def find(settings: Settings, name: str, version: str) -> Version:
    """The version that is to be made again."""
    return Registry(settings).get(name, version)


def _compare(run: Run, version: Version, trained: Trained, ray: Cluster) -> ModelComparison | None:
    """Both models measured here, under equal settings; none without tasks."""
    evaluation = run.recipe.evaluation
    if not plan(evaluation):
        return None
    registered = steps.evaluate(run, "registered", steps.files(run, version), version.digest, ray)
    made = steps.evaluate(run, "reproduced", run.model, trained.digest, ray)
    known = {task.digest: task.settings for task in plan(evaluation)}
    store = ScoreStore(run.settings.scores)
    return compare(registered, made, records=store.items, predictions=store.predictions, settings=known)
