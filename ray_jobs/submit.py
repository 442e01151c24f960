"""Start, follow and cancel jobs on a Ray cluster through its job interface.

A job's id is derived from what it does, so a flow that crashed and runs again finds its job instead of starting a
second one. Nothing here imports torch.
"""

import asyncio
import logging
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gem_core.errors import GemError
from gem_core.settings import Settings
from ray_jobs import local_cluster
from ray_jobs.jobs import error_in
from ray_jobs.local_cluster import FORWARDED

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from ray.job_submission import JobSubmissionClient

T = TypeVar("T")

START_SECONDS = 120.0
"""How long a local cluster may take to answer; 5 s on two idle cores."""
PATIENCE_SECONDS = 120.0
"""How long a cluster that answered before may be out of reach."""
POLL_SECONDS = 0.3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """Where jobs go."""

    address: str
    """The job server: ``http://host:port``."""
    head: local_cluster.Head | None = field(default=None, repr=False)
    """The process behind a local cluster."""
    log: Path | None = None
    """What that process says."""

    @cached_property
    def client(self) -> "JobSubmissionClient":
        """The connection. First use waits for a local cluster that is still starting.

        Raises:
            GemError: No answer.
        """
        deadline = time.monotonic() + (START_SECONDS if self.head else 0.0)
        while True:
            try:
                return _connect(self.address, self.head.token if self.head else None)
            except (ConnectionError, RuntimeError) as error:
                self._still_starting(error, late=time.monotonic() > deadline)
            time.sleep(POLL_SECONDS)

    def _still_starting(self, error: Exception, *, late: bool) -> None:
        if self.head is None:
            raise GemError(
                f"no Ray job server answers at {self.address} ({_one_line(error)}); "
                "correct GEM_RAY_ADDRESS, or unset it for a cluster on this machine"
            ) from error
        if self.head.process() is None:
            raise GemError(f"the local Ray cluster did not start; {self.log} says why") from error
        if late:
            raise GemError(
                f"the local Ray cluster (process {self.head.pid}) does not answer at {self.address}; see {self.log}"
            ) from error


@contextmanager
def cluster(settings: Settings) -> Iterator[Cluster]:
    """The cluster of the settings, else a local one that lives as long as somebody uses it.

    A local cluster starts in the background: enter early and let it come up beside other work.
    """
    if settings.ray_address:
        yield Cluster(settings.ray_address.rstrip("/"))
        return
    folder = settings.home / "ray"
    with local_cluster.shared(folder) as head:
        yield Cluster(head.address, head, folder / "cluster.log")


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
        env: Variables of the job, over this process's ``GEM_*``, ``MLFLOW_*``, ``HF_*``, ``AWS_*`` and
            ``OMP_NUM_THREADS``.
        cpus: Reserved for the entry point itself; Ray Train's workers ask for their own.
        gpus: The same.
        again: Start anew although it has succeeded: its result was lost since.

    Returns:
        The id of the attempt that runs or has succeeded: ``job_id``, or ``job_id-2`` … after failed ones.

    Raises:
        GemError: The cluster is out of reach, or takes no job.
    """
    variables = {k: v for k, v in os.environ.items() if k.startswith(FORWARDED)} | dict(env or {})
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
                raise GemError(f"{cluster.address} did not take job {job_id}: {_one_line(error)}") from error
            time.sleep(POLL_SECONDS)


def follow(cluster: Cluster, job_id: str, on_line: Callable[[str], None]) -> None:
    """Hand over a job's log line by line, from its first, until it ends.

    Args:
        cluster: Where it runs.
        job_id: As :func:`submit` returned it.
        on_line: Called in this thread.

    Raises:
        GemError: The job failed: its own last error line. Or it was stopped, or the cluster is lost.
    """
    seen = _Lines(on_line)
    lost_since: float | None = None
    seen_before = 0
    while True:
        try:
            details = asyncio.run(_tail(cluster, job_id, seen))
            break
        except _ConnectionLostError as error:
            now = time.monotonic()
            lost_since = now if lost_since is None or seen.count > seen_before else lost_since
            seen_before = seen.count
            gone = cluster.head is not None and cluster.head.process() is None
            if gone or now - lost_since > PATIENCE_SECONDS:
                raise GemError(
                    f"the Ray cluster at {cluster.address} is lost ({error}); "
                    "run again to continue from the last checkpoint"
                ) from error
        time.sleep(1.0)
        seen.rewind()
    if details.status == "STOPPED":
        raise GemError(f"job {job_id} was stopped; run again to continue from its last checkpoint")
    if details.status == "FAILED":
        raise GemError(seen.error or f"job {job_id} failed: {_one_line(details.message or seen.last)}")


def cancel(cluster: Cluster, job_id: str) -> bool:
    """Stop a job and wait until it has ended; false if it had already."""
    stopped = bool(cluster.client.stop_job(job_id))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not cluster.client.get_job_status(job_id).is_terminal():
        if time.monotonic() > deadline:
            raise GemError(f"job {job_id} does not stop; look at it on {cluster.address}")
        time.sleep(POLL_SECONDS)
    return stopped


class _Lines:
    """Counts complete lines, so that a log read again from its start is handed over once."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self.count = self._read = 0
        self._part = ""
        self.last = ""
        self.error: str | None = None

    def rewind(self) -> None:
        self._read, self._part = 0, ""

    def add(self, chunk: str, *, end: bool = False) -> None:
        *lines, self._part = (self._part + chunk).split("\n")
        if end and self._part:
            lines, self._part = [*lines, self._part], ""
        for line in lines:
            self._read += 1
            if self._read > self.count:
                self.count = self._read
                self.last = line.strip() or self.last
                self.error = error_in(line) or self.error
                self._on_line(line)


async def _tail(cluster: Cluster, job_id: str, lines: _Lines) -> "JobDetails":
    """Stream the log until the job has ended, then read the rest: the stream itself would end seconds later.

    Raises:
        _ConnectionLostError: Somewhere on the way; what the reader of the lines raises comes through as it is.
    """
    chunks = asyncio.Queue[str]()

    async def stream() -> None:
        with _connected():
            async for chunk in cluster.client.tail_job_logs(job_id):
                chunks.put_nowait(chunk)

    tail = asyncio.create_task(stream())
    try:
        while True:
            with _connected():
                details = await asyncio.to_thread(cluster.client.get_job_info, job_id)
            while not chunks.empty():
                lines.add(chunks.get_nowait())
            if details.status.is_terminal():
                break
            if tail.done():
                tail.result()  # raises what broke it; a log that ended in order waits for the status
            await asyncio.sleep(POLL_SECONDS)
    finally:
        tail.cancel()
        await asyncio.gather(tail, return_exceptions=True)
    lines.rewind()
    with _connected():
        log = await asyncio.to_thread(cluster.client.get_job_logs, job_id)
    lines.add(log, end=True)
    return details


def _attempts(cluster: Cluster, job_id: str) -> "dict[int, JobDetails]":
    """Attempts at a job the cluster knows of, by number."""
    found = {}
    for job in _patiently(cluster.client.list_jobs):
        name = job.submission_id or ""
        number = name.removeprefix(f"{job_id}-")
        if name == job_id:
            found[1] = job
        elif number != name and number.isdecimal():
            found[int(number)] = job
    return found


class _ConnectionLostError(Exception):
    """The cluster is out of reach at the moment."""


@contextmanager
def _connected() -> Iterator[None]:
    """Tell a cluster out of reach from everything else that may go wrong."""
    import aiohttp
    import requests

    try:
        yield
    except (aiohttp.ClientError, requests.RequestException, ConnectionError, RuntimeError) as error:
        raise _ConnectionLostError(_one_line(error)) from error  # RuntimeError: Ray's word for an answer that is none


def _patiently(call: Callable[[], T]) -> T:
    """Repeat a reading call while the cluster is out of reach for a while."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with _connected():
                return call()
        except _ConnectionLostError as error:
            if time.monotonic() > deadline:
                raise GemError(f"the Ray cluster does not answer: {error}") from error
            logger.info("The Ray cluster does not answer; trying again: %s", error)
        time.sleep(1.0)


_environment = threading.Lock()


def _connect(address: str, token: str | None) -> "JobSubmissionClient":
    from ray.job_submission import JobSubmissionClient

    headers = {"Authorization": f"Bearer {token}"} if token else None
    with _environment:  # Ray prefers these variables to the address it is given
        hidden = {k: os.environ.pop(k) for k in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS") if k in os.environ}
        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # a line for every closed stream
        try:
            return JobSubmissionClient(address, headers=headers)
        finally:
            os.environ.update(hidden)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]
