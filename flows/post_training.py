"""From a base model to a champion: the post-training flow, which reads from top to bottom.

Every step finds what an earlier run already did by content, not by Prefect's memory: the base by revision; data,
training and scores by digest; the version by the weights' digest. A rerun therefore skips what is done, also when the
Prefect database is gone. Heavy work runs in Ray jobs; this process holds ids and paths.
"""

from prefect import flow

from flows import steps
from flows.outcome import Comparison, Outcome
from flows.timing import Stopwatch
from gem_core.recipe import Recipe
from gem_core.settings import Settings
from ray_jobs.submit import cluster


@flow(
    name="post-training",
    flow_run_name="{recipe.name}-seed-{recipe.seed}",
    persist_result=True,
    result_serializer="json",
)
def post_training(recipe: Recipe) -> Outcome:
    """Post-train, measure, register, judge and promote one model.

    Args:
        recipe: What to run. Where it runs is read from :class:`gem_core.settings.Settings`.

    Returns:
        Ids, scores and the verdict with its reasons.

    Raises:
        GemError: Something the caller can put right. Nothing is half-registered; a rerun goes on where it can.
    """
    settings, watch = Settings(), Stopwatch()
    with cluster(settings) as ray:  # a local one comes up beside the first steps
        run = steps.resolve(recipe, settings, watch)
        steps.estimate_cost(run)
        mlflow_run = steps.start_record(run)
        with steps.closing_record(run, mlflow_run):
            data = steps.prepare(run)
            baseline = steps.evaluate(run, "base", run.base.folder, run.base.digest, ray)
            trained = steps.train(run, data, mlflow_run, ray)
            candidate = steps.evaluate(run, "candidate", run.model, trained.digest, ray)
            champion = steps.find_champion(run)
            reigning = champion and steps.evaluate(run, "champion", steps.files(run, champion), champion.digest, ray)
            comparison = Comparison(
                baseline=baseline,
                candidate=candidate,
                champion=reigning,
                champion_version=champion.version if champion else None,
            )
            comparison = steps.measure_more(run, comparison, champion, ray)
            version = steps.register(run, data, trained, mlflow_run, comparison)
            report = steps.judge(run, comparison, data, ray)
            decision = steps.promote(run, version, comparison, report)
    decision = steps.await_person(run, version, decision)
    return Outcome(
        name=version.name,
        version=version.version,
        digest=version.digest,
        mlflow_run=mlflow_run,
        folder=str(run.folder),
        comparison=comparison,
        report=report,
        decision=decision,
        seconds=watch.seconds(),
        steps=watch.steps,
    )


@flow(name="train", flow_run_name="{recipe.name}-seed-{recipe.seed}", persist_result=True, result_serializer="json")
def train_only(recipe: Recipe) -> dict[str, str]:
    """The training part of :func:`post_training`: no scores, nothing registered.

    Returns:
        The model's ``folder`` and ``digest``, and the id of its ``mlflow_run``.
    """
    settings, watch = Settings(), Stopwatch()
    with cluster(settings) as ray:
        run = steps.resolve(recipe, settings, watch)
        steps.estimate_cost(run)
        mlflow_run = steps.start_record(run)
        with steps.closing_record(run, mlflow_run):
            trained = steps.train(run, steps.prepare(run), mlflow_run, ray)
    return {"folder": str(run.model), "digest": trained.digest, "mlflow_run": mlflow_run}
