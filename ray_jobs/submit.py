"""Start, follow and cancel jobs on a Ray cluster through its job interface.

A job's id is derived from what it does, so a flow that crashed and runs again finds its job instead of starting a
second one. Nothing here imports torch.
"""

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gem_core.errors import GemError
from ray_jobs.connection import PATIENCE_SECONDS, POLL_SECONDS, Cluster, cluster, one_line, patiently
from ray_jobs.follow import follow
from ray_jobs.local_cluster import FORWARDED

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails

__all__ = ["Cluster", "cancel", "cluster", "follow", "forwarded", "submit"]

CREDENTIALS = frozenset({
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME",
})  # fmt: skip
"""What a team's cluster has to hold itself: Ray lists the variables of every job."""


def submit(
    cluster: Cluster,
    module: str,
    arguments: Sequence[str | Path],
    job_id: str,
    *,
    env: Mapping[str, str] | None = None,
    cpus: float = 0,
    gpus: float = 0,
    again: bool = False,
) -> str:
    """Start ``python -m module arguments`` as a Ray job, unless it runs or has run already.

    Args:
        cluster: Where to.
        module: With what it needs installed on the cluster; nothing is uploaded.
        arguments: Paths have to mean the same there.
        job_id: Derived from what the job does.
        env: Variables of the job, over what `forwarded` takes of this process's.
        cpus: Reserved for the entry point itself; Ray Train's workers ask for their own.
        gpus: The same.
        again: Start anew although it has succeeded: its result was lost since.

    Returns:
        The id of the attempt that runs or has succeeded: ``job_id``, or ``job_id-2`` … after failed ones.

    Raises:
        GemError: The cluster is out of reach, or takes no job.
    """
    variables = forwarded(os.environ, shared=cluster.head is None) | dict(env or {})
    python = sys.executable if cluster.head else "python"
    entry = shlex.join([python, "-m", module, *map(str, arguments)])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        attempts = _attempts(cluster, job_id)
        latest = attempts[max(attempts)] if attempts else None
        if latest is not None and (not latest.status.is_terminal() or (latest.status == "SUCCEEDED" and not again)):
            return str(latest.submission_id)
        number = max(attempts, default=0) + 1
        try:
            return cluster.client.submit_job(
                entrypoint=entry,
                submission_id=job_id if number == 1 else f"{job_id}-{number}",
                runtime_env={"env_vars": variables},
                entrypoint_num_cpus=cpus or None,
                entrypoint_num_gpus=gpus or None,
            )
        except RuntimeError as error:  # Ray's word for every refusal
            if number in _attempts(cluster, job_id):
                again = False  # another flow was faster, or the answer was lost: look again and join that job
            elif "try again later" not in str(error) or time.monotonic() > deadline:  # a cluster still coming up
                raise GemError(f"{cluster.address} did not take job {job_id}: {one_line(error)}") from error
            time.sleep(POLL_SECONDS)


def forwarded(environment: Mapping[str, str], *, shared: bool) -> dict[str, str]:
    """The variables that a job takes with it: ``GEM_*``, ``MLFLOW_*``, ``HF_*``, ``AWS_*`` and ``OMP_NUM_THREADS``.

    Args:
        environment: Of whoever submits.
        shared: Others reach the cluster's job server, and read there what a job was given: no credential goes to it.
    """
    withheld = CREDENTIALS if shared else frozenset()
    return {name: value for name, value in environment.items() if name.startswith(FORWARDED) and name not in withheld}


def cancel(cluster: Cluster, job_id: str) -> bool:
    """Stop a job and wait until it has ended; false if it had already."""
    stopped = bool(cluster.client.stop_job(job_id))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not cluster.client.get_job_status(job_id).is_terminal():
        if time.monotonic() > deadline:
            raise GemError(f"job {job_id} does not stop; look at it on {cluster.address}")
        time.sleep(POLL_SECONDS)
    return stopped


def _attempts(cluster: Cluster, job_id: str) -> "dict[int, JobDetails]":
    """Attempts at a job the cluster knows of, by number."""
    found = {}
    for job in patiently(cluster.client.list_jobs):
        name = job.submission_id or ""
        number = name.removeprefix(f"{job_id}-")
        if name == job_id:
            found[1] = job
        elif number != name and number.isdecimal():
            found[int(number)] = job
    return found
