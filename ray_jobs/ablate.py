"""The ablation job: ``python -m ray_jobs.ablate JOB.json``. Every variant with every seed is a Ray task.

A result is written as soon as it is there; a job that is started again runs what is missing.
"""

import logging
from pathlib import Path
from typing import Any

import ray

from gem_core.errors import GemError
from ray_jobs import entry
from ray_jobs.jobs import AblateJob, Progress


def main() -> None:
    """Run what the job lacks."""
    path = entry.argument("python -m ray_jobs.ablate JOB.json")
    job = AblateJob.read(path)
    ray.init(logging_level=logging.WARNING)
    resources = job.recipe.resources
    task = ray.remote(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker, max_retries=1)(work)
    every = job.runs()
    there = {(result.variant, result.seed) for result in job.found()}
    running: dict[Any, str] = {}
    for variant, seed in every:
        if (variant.name, seed) not in there:
            running[task.remote(str(path), variant.name, seed)] = f"{variant.name}, seed {seed}"
    while running:
        (ready,), _ = ray.wait(list(running), num_returns=1)
        name = running.pop(ready)
        try:
            ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, GemError):
                raise GemError(f"{name}: {error.cause}") from error
            raise
        entry.say(Progress(text=name, share=1 - len(running) / len(every)))


def work(path: str, name: str, seed: int) -> None:
    """One variant with one seed, in a Ray worker."""
    import torch

    from gem_core.settings import Settings
    from gem_core.sources.rows import Rows
    from gem_core.studies.ablation import run_variant

    job = AblateJob.read(Path(path))
    torch.set_num_threads(job.recipe.resources.cpus_per_worker)
    variant = next(variant for variant in job.variants if variant.name == name)
    result = run_variant(variant, seed, job.recipe, job.base, Rows.open(job.data), Settings(home=job.home))
    target = job.result(variant, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_suffix(".new")
    scratch.write_text(result.model_dump_json())
    scratch.replace(target)


if __name__ == "__main__":
    entry.run(main)
