"""Opening an MLflow server or store, and saying in one line what is wrong with it.

Only this module, ``tracking`` and ``registry`` import mlflow. It takes two seconds, so that happens on first use.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from gem_core.errors import GemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow import MlflowClient
    from mlflow.store.entities.paged_list import PagedList

T = TypeVar("T")


class UnavailableError(GemError):
    """The store or its server does not answer at the moment; the same question may be answered later."""


SERVER_TIMEOUT = 10.0
"""Seconds a tracking server has to answer the first question; later ones are retried by MLflow for minutes."""


def connect(uri: str) -> MlflowClient:
    """Open an MLflow tracking server or store; a SQLite store is created with its folder on first use.

    Raises:
        GemError: Nothing answers there, or it is no MLflow store.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported and whenever it would send
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    database = sqlite_file(uri)
    if database is not None:
        return _open_sqlite(uri, database)
    from mlflow import MlflowClient

    if uri.startswith(("http://", "https://")):
        import requests

        try:
            requests.get(f"{uri.rstrip('/')}/health", timeout=SERVER_TIMEOUT)
        except requests.RequestException as error:
            raise UnavailableError(
                f"no MLflow server answers at {printable(uri)}: start it, or correct MLFLOW_TRACKING_URI"
            ) from error
    with explained(uri):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def download(uri: str, source: str, into: Path) -> Path:
    """Fetch an artifact folder, by way of the tracking server where the address asks for it; returns where it lies."""
    from mlflow.artifacts import download_artifacts

    with explained(uri):
        return Path(download_artifacts(artifact_uri=source, dst_path=str(into), tracking_uri=uri))


def sqlite_file(uri: str) -> Path | None:
    """The database file of a ``sqlite:///`` address; None for any other."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def printable(uri: str) -> str:
    """The address without user name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what MLflow and its database raise into one line that says where and what to do."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        reason = str(error).strip().split("\n")[0][:300]
        if _passing(error):
            raise UnavailableError(f"MLflow at {printable(uri)} does not answer: {reason} (start it again)") from error
        raise GemError(
            f"MLflow at {printable(uri)} refuses: {reason} (check MLFLOW_TRACKING_URI and its state)"
        ) from error


def _passing(error: Exception) -> bool:
    """Whether a server or database is out of reach or overloaded, and not the question wrong.

    MLflow's client says "failed with exception" where no answer came at all, and gives 5xx answers their status.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import InterfaceError, OperationalError

    if isinstance(error, MlflowException):
        unanswered = "failed with exception" in str(error) or "failed with timeout" in str(error)
        return unanswered or error.error_code == "TEMPORARILY_UNAVAILABLE" or "error code 50" in str(error)
    return isinstance(error, OperationalError | InterfaceError)


def all_pages(query: Callable[[str | None], PagedList[T]]) -> list[T]:
    """Everything that a paged query of MLflow finds."""
    found: list[T] = []
    token = None
    while True:
        page = query(token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _open_sqlite(uri: str, database: Path) -> MlflowClient:
    """Open or create a SQLite store, one process at a time: MLflow's own creation of the tables is not safe for two."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        started = database.is_file() and database.stat().st_size > 0
        if started:
            with database.open("rb") as stream:
                if stream.read(16) != b"SQLite format 3\0":
                    raise GemError(f"{database} is no SQLite database: move it away, or correct MLFLOW_TRACKING_URI")
        lock = FileLock(database.with_name(f"{database.name}.lock"))
        with lock:
            from mlflow import MlflowClient

            logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it announces every table it creates
            with explained(uri):
                return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except OSError as error:
        raise GemError(
            f"the MLflow store {database} cannot be opened ({error.strerror or error}): "
            "make its folder writable, or set GEM_HOME"
        ) from error
