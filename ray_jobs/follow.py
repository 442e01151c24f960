"""Following a job's log from its first line to its end, over lost connections."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gem_core.errors import GemError
from ray_jobs.connection import PATIENCE_SECONDS, POLL_SECONDS, Cluster, ConnectionLostError, connected, one_line
from ray_jobs.jobs import error_in

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Ray colours what a worker printed."""


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
        except ConnectionLostError as error:
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
        raise GemError(seen.error or f"job {job_id} failed: {one_line(details.message or seen.last)}")


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
                line = COLOURS.sub("", line)
                self.last = line.strip() or self.last
                self.error = error_in(line) or self.error
                self._on_line(line)


async def _tail(cluster: Cluster, job_id: str, lines: _Lines) -> "JobDetails":
    """Stream the log until the job has ended, then read the rest: the stream itself would end seconds later.

    Raises:
        ConnectionLostError: Somewhere on the way; what the reader of the lines raises comes through as it is.
    """
    chunks = asyncio.Queue[str]()

    async def stream() -> None:
        with connected():
            async for chunk in cluster.client.tail_job_logs(job_id):
                chunks.put_nowait(chunk)

    tail = asyncio.create_task(stream())
    try:
        while True:
            with connected():
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
    with connected():
        log = await asyncio.to_thread(cluster.client.get_job_logs, job_id)
    lines.add(log, end=True)
    return details
