"""The ablation job: ``python -m ray_jobs.ablate JOB.json``. Every variant with every seed is a Ray task, once each.

A result is written as soon as it is there; a job that is started again runs what is missing.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import ray

from gem_core.errors import GemError
from gem_core.studies.ablation import Variant
from ray_jobs import entry
from ray_jobs.jobs import AblateJob, Progress

POLL_SECONDS = 5.0
"""Between two looks at how far the trainings are."""
STEPS_A_NOTE = 5


def main() -> None:
    """Run what the job lacks."""
    path = entry.argument("python -m ray_jobs.ablate JOB.json")
    job = AblateJob.read(path)
    ray.init(logging_level=logging.WARNING)
    resources = job.recipe.resources
    task = ray.remote(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker, max_retries=1)(work)
    job.results.mkdir(parents=True, exist_ok=True)
    there = {(result.variant, result.seed): result for result in job.found()}
    groups, running = job.alike(), {}
    for group in groups:
        known = [there[variant.name, seed] for variant, seed in group if (variant.name, seed) in there]
        if known:
            job.keep(known[0], group)
        else:
            variant, seed = group[0]
            running[task.remote(str(path), variant.name, seed)] = group[0]
    said = None
    while running:
        ready, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
        for done in ready:
            variant, seed = running.pop(done)
            try:
                ray.get(done)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, GemError):
                    raise GemError(f"{variant.name}, seed {seed}: {error.cause}") from error
                raise
        now = progress(job, list(running.values()), len(groups))
        if now != said:
            entry.say(now)
            said = now


def progress(job: AblateJob, missing: Sequence[tuple[Variant, int]], runs: int) -> Progress:
    """How far the whole job is, told by the trainings under way.

    Args:
        job: The job.
        missing: The runs that have no result yet.
        runs: All of them.
    """
    under_way = [(run, steps) for run in missing if (steps := job.steps(*run)) is not None]
    text = ", ".join(f"{variant.name} ({done}/{steps})" for (variant, _), (done, steps) in under_way)
    left = len(missing) - sum(done / steps for _, (done, steps) in under_way)
    return Progress(text=text or f"{runs - len(missing)} of {runs} done", share=1 - left / runs)


def work(path: str, name: str, seed: int) -> None:
    """One variant with one seed, and all that come to the same, in a Ray worker."""
    import torch

    from gem_core.settings import Settings
    from gem_core.sources.rows import Rows
    from gem_core.studies.ablation import run_variant

    job = AblateJob.read(Path(path))
    torch.set_num_threads(job.recipe.resources.cpus_per_worker)
    variant = next(variant for variant in job.variants if variant.name == name)

    def note(done: int, steps: int) -> None:
        if done % STEPS_A_NOTE == 0:
            job.note_steps(variant, seed, done, steps)

    result = run_variant(variant, seed, job.recipe, job.base, Rows.open(job.data), Settings(home=job.home), report=note)
    job.keep(result, next(group for group in job.alike() if (variant, seed) in group))


if __name__ == "__main__":
    entry.run(main)
