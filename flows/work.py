"""Work that a flow leaves to a Ray job: start it or find it, show its progress, cancel it when the flow is stopped."""

from pathlib import Path

from prefect import get_run_logger
from prefect.exceptions import TerminationSignal

from flows.progress import report
from ray_jobs.jobs import Progress
from ray_jobs.submit import Cluster, cancel, follow, submit

STOPPED = (KeyboardInterrupt, TerminationSignal)
"""How a person (Ctrl-C), a service manager or Prefect's cancel button (SIGTERM) ends a flow from outside."""


def work(ray: Cluster, module: str, argument: Path, job_id: str, step: str, *, threads: int) -> None:
    """Run a job to its end and show its progress. An interrupt cancels it; its checkpoints stay.

    OpenMP's threads are set for the job's own process: by default it takes every core, beside the workers.
    """
    log = get_run_logger()

    def show(line: str) -> None:
        progress = Progress.parse(line)
        if progress is not None:
            report(step, min(progress.share, 0.999), str(progress))
        elif line.strip():
            log.info("%s: %s", step, line)

    report(step, 0.0, "starting")
    attempt = submit(ray, module, [argument], job_id, env={"OMP_NUM_THREADS": str(threads)}, again=True)
    try:
        follow(ray, attempt, show)
    except STOPPED:
        cancel(ray, attempt)
        raise
