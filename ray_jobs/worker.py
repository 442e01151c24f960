"""What every Ray Train worker does: our training, with Ray's checkpoints and one reporter for all of them."""

import dataclasses
import logging
import tempfile
import time
from pathlib import Path

import torch
from ray import train as ray_train

from gem_core.method.training import StepReport, train
from gem_core.sources.rows import Rows
from ray_jobs import entry
from ray_jobs.jobs import Progress, Trained, TrainJob
from ray_jobs.metrics import MetricsWriter

SECONDS_BETWEEN_LINES = 0.5
SHOWN = ("loss", "next_token_loss", "contrastive_loss", "tokens_per_second")


def work(folder: Path) -> None:
    """Train as ``folder/job.json`` says, from the last checkpoint if there is one.

    Args:
        folder: The run folder, the same for every worker.
    """
    job = TrainJob.read(folder / "job.json")
    recipe = job.recipe
    logging.getLogger("ray.train").setLevel(logging.WARNING)  # else every report is a line, on every worker
    torch.set_num_threads(recipe.resources.cpus_per_worker)
    first = ray_train.get_context().get_world_rank() == 0
    with MetricsWriter(job.tracking_uri, job.mlflow_run if first else None, steps=recipe.training.steps) as metrics:
        reporter = _Reporter(metrics, every=recipe.training.checkpoint_every, first=first)
        restored = ray_train.get_checkpoint()
        with restored.as_directory() if restored else tempfile.TemporaryDirectory() as checkpoint:
            result = train(
                recipe,
                job.base,
                Rows.open(job.data),
                report=reporter,
                checkpoint=Path(checkpoint) if restored else None,
                output=folder / "model",
            )
    if first:
        Trained(**dataclasses.asdict(result)).write(folder / "training.json")


class _Reporter:
    """Passes reports on: checkpoints to Ray, numbers to MLflow, lines to the log."""

    def __init__(self, metrics: MetricsWriter, *, every: int, first: bool) -> None:
        self._metrics = metrics
        self._every = every
        self._first = first
        self._last_line = 0.0

    def __call__(self, report: StepReport) -> None:
        if self._first:
            self._metrics.add(report.step, report.metrics)
        if report.step % self._every == 0 or report.step == report.steps:
            self._metrics.settle()
            # Ray's report waits for every worker: at checkpoints only, and on all of them
            saved = ray_train.Checkpoint.from_directory(report.checkpoint) if report.checkpoint else None
            ray_train.report({"step": report.step, **report.metrics}, checkpoint=saved)
        if not self._first:
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES or report.step == report.steps:
            self._last_line = now
            shown = {name: report.metrics[name] for name in SHOWN if name in report.metrics}
            text = f"step {report.step}/{report.steps}"
            entry.say(Progress(text=text, share=report.step / report.steps, metrics=shown))
