"""The training job: ``python -m ray_jobs.train RUN_FOLDER``, as its ``job.json`` says.

This process only drives Ray Train; torch works in the workers, by :func:`gem_core.method.training.train`. Checkpoints
go to ``RUN_FOLDER/checkpoints``: a lost worker, a lost job and a lost cluster all continue from the last one. The model
ends up in ``RUN_FOLDER/model``, what there is to say about it in ``RUN_FOLDER/training.json``.
"""

import logging
from pathlib import Path

import ray
from ray.train import (
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    WorkerGroupError,
)
from ray.train.torch import TorchTrainer

from gem_core.errors import GemError
from gem_core.recipe import Resources
from ray_jobs import entry
from ray_jobs.head import LOCAL_MARK
from ray_jobs.jobs import Trained, TrainJob

CHECKPOINTS = "checkpoints"
CHECKPOINTS_KEPT = 2

logger = logging.getLogger(__name__)


def main() -> None:
    """Train as ``RUN_FOLDER/job.json`` says, unless that is done."""
    folder = entry.argument("python -m ray_jobs.train RUN_FOLDER")
    job = TrainJob.read(folder / "job.json")
    if Trained.find(folder):
        entry.say("already trained")
        return
    ray.init(logging_level=logging.WARNING)
    check_room(job.recipe.resources, ray.cluster_resources())
    attempts = 1 + job.recipe.resources.max_failures
    for attempt in range(attempts):
        try:
            _trainer(folder, job).fit()
        except TrainingFailedError as error:
            reason = explain(error)
            if reason is not None:
                raise GemError(reason) from error
            if attempt + 1 == attempts:
                raise GemError(
                    f"training lost its workers {attempts} time(s) and gives up; run again to continue from the last "
                    "checkpoint, with fewer workers or smaller batches if memory ran out"
                ) from error
            entry.say("a worker was lost: continuing from the last checkpoint")
        else:
            return


def check_room(resources: Resources, cluster: dict[str, float]) -> None:
    """Refuse what a local cluster can never place; any other cluster may grow.

    Args:
        resources: What the training asks for.
        cluster: What there is, by Ray's names.

    Raises:
        GemError: Too little.
    """
    if LOCAL_MARK not in cluster:
        return
    wanted = {
        "CPU": resources.workers * resources.cpus_per_worker,
        "GPU": resources.workers * resources.gpus_per_worker,
    }
    for kind, number in wanted.items():
        if number > cluster.get(kind, 0):
            raise GemError(
                f"the recipe asks for {resources.workers} worker(s) with {number:g} {kind}s in all, this machine has "
                f"{cluster.get(kind, 0):g}: lower resources (results do not depend on it) or set GEM_RAY_ADDRESS"
            )


def explain(error: TrainingFailedError) -> str | None:
    """One line on what ended a training, or None where trying again may help: a worker was lost."""
    if not isinstance(error, WorkerGroupError):
        return f"Ray Train failed: {' '.join(str(error).split())[:300]}"
    failures = list(error.worker_failures.values())
    for failure in failures:
        if isinstance(failure, GemError):
            return str(failure)
    if not failures or any(_lost(failure) for failure in failures):
        return None
    return f"training failed with {type(failures[0]).__name__}: {' '.join(str(failures[0]).split())[:300]}"


def _lost(failure: Exception) -> bool:
    """Whether it is about a lost worker: Ray's own word for it, or the echo in another worker's collective."""
    kind = type(failure)
    echo = kind.__name__ in ("DistBackendError", "DistNetworkError") or "by peer" in str(failure)
    return echo or kind.__module__.startswith("ray.")


def _trainer(folder: Path, job: TrainJob) -> TorchTrainer:
    resources = job.recipe.resources
    each = {"CPU": float(resources.cpus_per_worker), "GPU": resources.gpus_per_worker}
    each = {kind: number for kind, number in each.items() if number}
    threads = str(resources.cpus_per_worker)
    return TorchTrainer(
        work,
        train_loop_config={"folder": str(folder)},
        scaling_config=ScalingConfig(
            num_workers=resources.workers, use_gpu=bool(each.get("GPU")), resources_per_worker=each
        ),
        run_config=RunConfig(
            name=CHECKPOINTS,  # the same name in the same storage: a new job finds the old one's checkpoints
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=0),  # ours decides: an error to put right is not retried
            checkpoint_config=CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
            logging_config=LoggingConfig(log_level="WARNING"),  # the flow tells the story
            worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": threads}},
        ),
    )


def work(config: dict[str, str]) -> None:
    """What every Ray Train worker does."""
    from ray_jobs.worker import work as work_here

    work_here(Path(config["folder"]))


if __name__ == "__main__":
    entry.run(main)
