"""The cluster that jobs go to, and what it means to reach it."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gem_core.errors import GemError
from gem_core.settings import Settings
from ray_jobs import local_cluster

if TYPE_CHECKING:
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
                return connect(self.address, self.head.token if self.head else None)
            except (ConnectionError, RuntimeError) as error:
                self._still_starting(error, late=time.monotonic() > deadline)
            time.sleep(POLL_SECONDS)

    def _still_starting(self, error: Exception, *, late: bool) -> None:
        if self.head is None:
            raise GemError(
                f"no Ray job server answers at {self.address} ({one_line(error)}); "
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

    Raises:
        GemError: Jobs on another machine could not reach the MLflow store.
    """
    if settings.ray_address:
        if not settings.mlflow_uri.startswith(("http://", "https://")):
            raise GemError(
                f"jobs at {settings.ray_address} cannot write to {settings.mlflow_uri}: set MLFLOW_TRACKING_URI to an "
                "MLflow server that the cluster reaches"
            )
        yield Cluster(settings.ray_address.rstrip("/"))
        return
    folder = settings.home / "ray"
    with local_cluster.shared(folder) as head:
        yield Cluster(head.address, head, folder / "cluster.log")


class ConnectionLostError(Exception):
    """The cluster is out of reach at the moment."""


@contextmanager
def connected() -> Iterator[None]:
    """Tell a cluster out of reach from everything else that may go wrong."""
    import aiohttp
    import requests

    try:
        yield
    except (aiohttp.ClientError, requests.RequestException, ConnectionError, RuntimeError) as error:
        raise ConnectionLostError(one_line(error)) from error  # RuntimeError: Ray's word for an answer that is none


def patiently(call: Callable[[], T]) -> T:
    """Repeat a reading call while the cluster is out of reach for a while."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with connected():
                return call()
        except ConnectionLostError as error:
            if time.monotonic() > deadline:
                raise GemError(f"the Ray cluster does not answer: {error}") from error
            logger.info("The Ray cluster does not answer; trying again: %s", error)
        time.sleep(1.0)


_environment = threading.Lock()


def connect(address: str, token: str | None) -> "JobSubmissionClient":
    """A client of this very address."""
    from ray.job_submission import JobSubmissionClient

    headers = {"Authorization": f"Bearer {token}"} if token else None
    with _environment:  # Ray prefers these variables to the address it is given
        hidden = {k: os.environ.pop(k) for k in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS") if k in os.environ}
        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # a line for every closed stream
        try:
            return JobSubmissionClient(address, headers=headers)
        finally:
            os.environ.update(hidden)


def one_line(error: object) -> str:
    """The beginning of a message, on one line."""
    return " ".join(str(error).split())[:300]
