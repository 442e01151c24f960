"""The job that measures figures of one model: ``python -m ray_jobs.figures JOB.json``. Nothing else runs beside it."""

from gem_core.errors import GemError
from gem_core.settings import Settings
from ray_jobs import entry
from ray_jobs.jobs import Figures, FiguresJob, Progress


def main() -> None:
    """Load the model, measure what is asked for, and say on what machine."""
    path = entry.argument("python -m ray_jobs.figures JOB.json")
    job = FiguresJob.read(path)
    entry.say(Progress(text="loading the model", share=0.0))
    import torch

    from gem_core.method.model import GemModel
    from gem_core.studies.figures import measure
    from gem_core.studies.latency import machine

    torch.set_num_threads(job.threads)
    model = GemModel.load(job.model.folder, settings=Settings(home=job.home), dtype=job.dtype)
    if model.digest != job.model.digest:
        raise GemError(f"{job.model.folder} is not the model it is said to be; nothing is measured under its name")
    entry.say(Progress(text="measuring", share=0.5))
    Figures(job=job, figures=measure(model, job.metrics), machine=machine(model)).write(FiguresJob.result_path(path))


if __name__ == "__main__":
    entry.run(main)
