"""The scoring job: ``python -m ray_jobs.evaluate JOB.json``. Scores go to the score store, task by task."""

from gem_core.settings import Settings
from ray_jobs import entry
from ray_jobs.jobs import Evaluated, EvaluateJob, Progress


def main() -> None:
    """Score every model of the job; tasks measured before are taken from the store."""
    path = entry.argument("python -m ray_jobs.evaluate JOB.json")
    job = EvaluateJob.read(path)
    entry.say(Progress(text="loading the harnesses", share=0.0))
    import torch

    from gem_core.evaluation.continuations import Reader
    from gem_core.evaluation.run import evaluate

    torch.set_num_threads(job.threads)
    settings = Settings(home=job.home)
    reader = Reader(job.reader.folder, job.reader.digest or "") if job.reader else None
    scores = {}
    for number, model in enumerate(job.models):

        def progress(text: str, share: float, *, number: int = number, reference: str = model.reference) -> None:
            entry.say(Progress(text=f"{reference}: {text}", share=(number + share) / len(job.models)))

        scores[model.reference] = evaluate(
            model.folder,
            model.reference,
            job.evaluation,
            settings,
            digest=model.digest,
            reader=reader,
            progress=progress,
        )
    Evaluated(scores=scores).write(EvaluateJob.result_path(path))


if __name__ == "__main__":
    entry.run(main)
