"""An ablation from recipe to table: resolve, prepare, one Ray job for all variants, a record in MLflow."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from flows.progress import report
from flows.promotion import patient
from gem_core.errors import GemError
from gem_core.recipe import Recipe
from gem_core.records.tracking import RUN_KEY, Tracking
from gem_core.settings import Settings
from gem_core.sources import data, models
from gem_core.studies.ablation import Variant
from gem_core.studies.ablation_table import Row, markdown, rows_of
from ray_jobs.jobs import AblateJob, Progress
from ray_jobs.submit import cancel, cluster, follow, submit


def ablate(recipe: Recipe, grid: tuple[Variant, ...], seeds: tuple[int, ...]) -> list[Row]:
    """Train and score every variant that was not yet, and keep the table with an MLflow run.

    Args:
        recipe: What is varied. Its embedding tasks are the columns.
        grid: The variants, the reference among them.
        seeds: Of the trained ones.

    Raises:
        GemError: No embedding tasks, a variant that does not fit the recipe, or what training and scoring refuse.
    """
    settings = Settings()
    tasks = recipe.evaluation.embedding.tasks
    if not tasks:
        raise GemError("the recipe has no embedding tasks to compare variants by; set evaluation.embedding.tasks")
    for variant in grid:
        variant.recipe(recipe, seeds[0])
    base = patient(models.resolve)(recipe.base_model, settings, progress=_shown("base model"))
    key = key_of(recipe, base.digest)
    folder = settings.home / "ablations" / key
    rows = data.prepare(
        recipe.data, base, seed=recipe.seed, folder=folder / "data", settings=settings, progress=_shown("training data")
    )
    job = AblateJob(
        recipe=recipe,
        base=base,
        data=rows.folder,
        variants=grid,
        seeds=seeds,
        results=folder / "results",
        home=settings.home,
    )
    if len(job.found()) < len(job.runs()):
        _run(job, folder, settings)
    found = job.found()
    if len(found) < len(job.runs()):
        raise GemError(f"the job left results missing in {job.results}: look at its log, then run again")
    made = rows_of(found, tasks)
    _record(recipe, key, made, markdown(made, tasks), settings)
    return made


def key_of(recipe: Recipe, base: str) -> str:
    """What results belong to: another gate or promoter changes none of them.

    Args:
        recipe: What is varied.
        base: Digest of its base.
    """
    measured = recipe.model_copy(update={"gates": (), "promotion": "automatic"})
    return f"{recipe.name}-{measured.digest()[:12]}-{base[:8]}"


def _run(job: AblateJob, folder: Path, settings: Settings) -> None:
    """One Ray job; an interrupt cancels it, and what is done stays."""
    name = hashlib.sha256(job.model_dump_json().encode()).hexdigest()[:12]
    path = folder.resolve() / f"job-{name}.json"
    job.write(path)

    def show(line: str) -> None:
        progress = Progress.parse(line)
        if progress is not None:
            report("variants", min(progress.share, 0.999), str(progress))

    threads = str(job.recipe.resources.cpus_per_worker)
    with cluster(settings) as ray:
        report("variants", 0.0, "starting")
        attempt = submit(ray, "ray_jobs.ablate", [path], f"ablate-{name}", env={"OMP_NUM_THREADS": threads}, again=True)
        try:
            follow(ray, attempt, show)
        except KeyboardInterrupt:
            cancel(ray, attempt)
            raise
    report("variants", 1.0, "done")


@patient
def _record(recipe: Recipe, key: str, rows: list[Row], text: str, settings: Settings) -> None:
    tracking = Tracking(settings.mlflow_uri)
    run = tracking.start_run(f"{recipe.name}-ablation", key, {RUN_KEY: f"ablation-{key}"})
    tracking.log_metrics(run, {f"{row.variant}": row.mean for row in rows if row.mean is not None})
    tracking.log_text(run, text, "ablation.md")
    tracking.log_dict(run, {"rows": [row.model_dump(mode="json") for row in rows]}, "ablation.json")
    tracking.finish(run)


def _shown(step: str) -> Callable[[str, float], None]:
    return lambda stage, fraction: report(step, fraction, stage)
