"""The steps of the post-training flow, each a Prefect task that may be repeated safely.

Retries are for what a second try can mend (a network, a lost connection); a :class:`~gem_core.errors.GemError` is for
people and is not tried again. Registering and promoting are idempotent, so a crash after either is repaired by a rerun.
"""

import getpass
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows import approval, artifacts, figures, lineage, promotion
from flows.outcome import Comparison, Decision
from flows.progress import report
from flows.promotion import patient
from flows.run import Run
from flows.second_look import second_look
from flows.timing import Stopwatch
from flows.work import STOPPED, work
from gem_core import estimate
from gem_core.errors import GemError
from gem_core.evaluation.run import cached
from gem_core.evaluation.scores import Scores
from gem_core.evaluation.store import ScoreStore
from gem_core.judging import gates, more_items
from gem_core.judging.gates import GateReport
from gem_core.model_card import model_card
from gem_core.recipe import Evaluation, Recipe
from gem_core.records import registration
from gem_core.records.mlflow_connection import UnavailableError
from gem_core.records.registry import Registry
from gem_core.records.tracking import RUN_KEY, Tracking
from gem_core.records.versions import Version
from gem_core.settings import Settings
from gem_core.sources import data as training_data
from gem_core.sources import models
from gem_core.sources.data import PreparedData
from ray_jobs.jobs import Evaluated, EvaluateJob, ModelToScore, Trained, TrainJob
from ray_jobs.submit import Cluster


def _worth_retrying(_task: object, _run: object, state: Any) -> bool:  # noqa: ANN401 - Prefect's state is generic
    """Whether a second try could end differently."""
    return not isinstance(state.result(raise_on_failure=False), GemError)


repeatable = task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=_worth_retrying)
"""A step whose second try could end differently."""
once = task(cache_policy=NO_CACHE)
"""A step that depends on nothing outside."""


@repeatable
@patient
def resolve(recipe: Recipe, settings: Settings, watch: Stopwatch) -> Run:
    """Pin the base model: revision, digest, licence; refuse what GEM cannot train."""
    with watch.step("resolve the base"), watch.stages("pre-training") as staged:
        base = models.resolve(recipe.base_model, settings, progress=staged(_shown("base model")))
    report("base model", 1.0, f"{base.reference}, digest {base.digest[:12]}")
    return Run(recipe, base, settings, watch)


@once
def estimate_cost(run: Run) -> None:
    """Refuse what cannot fit before anything is spent.

    Raises:
        GemError: More memory than this machine has, where the training would run on it.
    """
    cost = estimate.estimate(run.recipe, run.base)
    if not run.recipe.resources.gpus_per_worker and not run.settings.ray_address:
        refusal = cost.refusal(estimate.machine_memory())
        if refusal is not None:
            raise refusal
    report("estimate", 1.0, f"{cost.trainable:,} of {cost.parameters:,} weights, {cost.steps:,} steps")


@repeatable
@patient
def start_record(run: Run, tags: Mapping[str, str] | None = None) -> str:
    """Open the one MLflow run with these tags, or the unfinished one of an earlier try; returns its id."""
    tracking = Tracking(run.settings.mlflow_uri)
    own = {RUN_KEY: run.key, "gem.flow_run": flow_run.id or "", "gem.base_digest": run.base.digest}
    mlflow_run = tracking.start_run(run.recipe.name, f"seed-{run.recipe.seed}", own | (tags or {}))
    content = run.recipe.model_dump(mode="json")
    # Parameters cannot be changed later, and a rerun may ask for other resources: those are only in recipe.yaml.
    tracking.log_params(
        mlflow_run, {key: content[key] for key in content.keys() - {"gates", "description", "resources"}}
    )
    tracking.log_dict(mlflow_run, content, "recipe.yaml")
    return mlflow_run


@contextmanager
def closing_record(run: Run, mlflow_run: str) -> Iterator[None]:
    """Close the MLflow run by how the work inside ended; why it failed is said also where MLflow is down."""
    tracking = Tracking(run.settings.mlflow_uri)
    try:
        yield
    except BaseException as error:
        with suppress(UnavailableError):
            tracking.finish(mlflow_run, "KILLED" if isinstance(error, STOPPED) else "FAILED")
        raise
    patient(tracking.finish)(mlflow_run, "FINISHED")


@repeatable
def prepare(run: Run) -> PreparedData:
    """Pin, draw and tokenize the training rows."""
    with run.watch.step("prepare the data"):
        data = training_data.prepare(
            run.recipe.data,
            run.base,
            seed=run.recipe.seed,
            folder=run.folder / "data",
            settings=run.settings,
            progress=_shown("training data"),
        )
    report("training data", 1.0, f"{data.rows:,} rows, {data.tokens:,} tokens")
    return data


@repeatable
def train(run: Run, data: PreparedData, mlflow_run: str, ray: Cluster) -> Trained:
    """Train in a Ray job; find it finished, or still running, if an earlier try started it."""
    done = Trained.find(run.folder)
    if done is not None:
        report("training", 1.0, f"done before, digest {done.digest[:12]}")
        return done
    with run.watch.step("train"):
        job = TrainJob(
            recipe=run.recipe,
            base=run.base,
            data=data.folder,
            mlflow_run=mlflow_run,
            tracking_uri=run.settings.mlflow_uri,
        )
        job.write(run.folder / "job.json")
        work(ray, "ray_jobs.train", run.folder, run.training_key, "training", threads=1)
    trained = Trained.find(run.folder)
    if trained is None:
        raise GemError(f"the training left no model in {run.folder}: look at the job's log, then run again")
    run.watch.add("training", trained.seconds)
    report("training", 1.0, f"{trained.steps} steps, digest {trained.digest[:12]}")
    return trained


@repeatable
def evaluate(
    run: Run, role: str, folder: Path, digest: str, ray: Cluster, evaluation: Evaluation | None = None
) -> Scores:
    """Score a model folder in a Ray job; scores that are known are not measured again.

    Args:
        run: Whose evaluation settings count.
        role: ``base``, ``candidate`` or ``champion``.
        folder: The model's files.
        digest: Its content digest.
        ray: Where to measure what is missing.
        evaluation: What to measure instead of what the recipe asks for.
    """
    step, more = f"scoring the {role}", "-more" if evaluation else ""
    evaluation = evaluation or run.recipe.evaluation
    known = cached(digest, evaluation, run.settings, reference=role, reader=run.base.digest)
    if known is not None:
        report(step, 1.0, "known")
        return known
    began = time.monotonic()
    with run.watch.step(step):
        path = run.folder / f"evaluate-{role}-{digest[:12]}{more}.json"
        threads = run.recipe.resources.workers * run.recipe.resources.cpus_per_worker
        model = ModelToScore(folder=folder, reference=role, digest=digest)
        reader = ModelToScore(folder=run.base.folder, reference="base", digest=run.base.digest)
        job = EvaluateJob(
            models=(model,), evaluation=evaluation, home=run.settings.home, threads=threads, reader=reader
        )
        job.write(path)
        work(ray, "ray_jobs.evaluate", path, f"{run.key}-{role}-{digest[:12]}{more}", step, threads=threads)
    scores = Evaluated.read(EvaluateJob.result_path(path)).scores[role]
    run.watch.add("scoring", min(scores.seconds, time.monotonic() - began))  # an earlier try may have measured a part
    report(step, 1.0, f"{len(scores.tasks)} scores")
    return scores


@repeatable
@patient
def find_champion(run: Run) -> Version | None:
    """The version that reigns now; the promotion will insist that it still does."""
    return Registry(run.settings).champion(run.recipe.name)


@patient
def files(run: Run, version: Version) -> Path:
    """Where a version's files are on this machine."""
    return Registry(run.settings).download(version.name, version.version)


def measure_more(run: Run, comparison: Comparison, champion: Version | None, ray: Cluster) -> Comparison:
    """The comparison on more items, where a gate asks for them and stays open; else as it is."""
    places = {"base": (run.base.folder, run.base.digest), "candidate": (run.model, comparison.candidate.model)}
    if champion is not None:
        places["champion"] = (files(run, champion), champion.digest)
    store = ScoreStore(run.settings.scores)
    return second_look(run.recipe, comparison, store, lambda role, more: evaluate(run, role, *places[role], ray, more))


@repeatable
@patient
def register(run: Run, data: PreparedData, trained: Trained, mlflow_run: str, comparison: Comparison) -> Version:
    """Make the model a version with its lineage and scores; equal weights are the version they already are."""
    with run.watch.step("register"):
        tracking = Tracking(run.settings.mlflow_uri)
        for role, scores in comparison.by_role().items():
            tracking.log_metrics(mlflow_run, {f"{role}.{metric}": value for metric, value in scores.points().items()})
            tracking.log_dict(mlflow_run, scores.model_dump(mode="json"), f"scores/{role}.json")
        version = registration.register(
            Registry(run.settings),
            run.recipe.name,
            run.model,
            mlflow_run,
            lineage.gather(run, data, trained, comparison.champion_version),
            who=getpass.getuser(),
            digest=trained.digest,
            scores=comparison.candidate.points(),
            baseline=comparison.baseline.points(),
            limited=comparison.candidate.limited_metrics(),
        )
    report("registry", 1.0, f"{version.name} version {version.version}")
    return version


@once
def judge(run: Run, comparison: Comparison, data: PreparedData, ray: Cluster) -> GateReport:
    """Hold the candidate against its base and the champion."""
    store = ScoreStore(run.settings.scores)
    measured = figures.measure(run, data, comparison.candidate.model, ray, scores=comparison.candidate)
    verdict = gates.judge(
        comparison.candidate,
        comparison.baseline,
        comparison.champion,
        more_items.read_at_half(run.recipe.gates, comparison.looked_twice),
        records=store.items,
        predictions=store.predictions,
        figures=measured.figures,
        machine=measured.machine,
    )
    artifacts.score_table(comparison.by_role())
    artifacts.gate_report(verdict)
    report("quality gates", 1.0, verdict.verdict)
    return verdict


@repeatable
@patient
def promote(run: Run, version: Version, comparison: Comparison, verdict: GateReport) -> Decision:
    """Move the champion alias, let the version wait, or refuse it: always with a reason in the log."""
    _publish(run, version, comparison, verdict)
    decision = promotion.decide(Registry(run.settings), run.recipe, version, comparison.champion_version, verdict)
    report("promotion", 1.0, decision.sentence.split(";")[0])
    return decision


def await_person(run: Run, version: Version, decision: Decision) -> Decision:
    """Wait for an approval as long as the recipe says; where it says nothing, the decision stays as it is."""
    if not decision.waits or not run.recipe.approval_hours:
        return decision
    return approval.await_person(Registry(run.settings), version, run.recipe.approval_hours)


def _publish(run: Run, version: Version, comparison: Comparison, verdict: GateReport) -> None:
    """Keep the gate report and the model card with the version and its MLflow run."""
    registry, tracking = Registry(run.settings), Tracking(run.settings.mlflow_uri)
    registry.record_report(version.name, version.version, verdict.model_dump(mode="json"))
    tracking.log_dict(version.run_id, verdict.model_dump(mode="json"), "gate_report.json")
    if version.lineage is None:
        return  # registered by another program: nothing is known of its making
    card = model_card(
        f"{version.name} version {version.version}",
        version.lineage,
        scores=comparison.candidate.points(),
        baseline=comparison.baseline.points(),
        limited=comparison.candidate.limited_metrics(),
        report=verdict,
        digest=version.digest,
    )
    registry.describe(version.name, version.version, card)
    tracking.log_text(version.run_id, card, "model_card.md")


def _shown(step: str) -> Callable[[str, float], None]:
    return lambda stage, fraction: report(step, fraction, stage)
