"""The MLflow run of a post-training run: what was asked, what was measured, what came out.

One run per post-training run, created by the flow; its id is handed to the jobs, and rank 0 writes through this class.
Everything goes through ``MlflowClient``: no global tracking address is set. MLflow takes two seconds to import, so that
happens on first use.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from gem_core.errors import GemError
from gem_core.records.mlflow_connection import all_pages, connect, explained, sqlite_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

T = TypeVar("T")

RUN_KEY = "gem.run_key"
"""The tag that names the post-training run, so that a rerun continues its MLflow run."""
Status = Literal["FINISHED", "FAILED", "KILLED"]
PAGE = 1000
"""Entries that one question to the store answers."""
METRICS_A_BATCH = 1000
PARAMS_A_BATCH = 100


@dataclass(frozen=True)
class RunRecord:
    """An MLflow run as it stands."""

    run_id: str
    experiment: str
    name: str
    status: str
    """``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``."""
    started: datetime
    ended: datetime | None
    params: dict[str, str]
    metrics: dict[str, float]
    """The last value of each."""
    tags: dict[str, str]
    artifact_uri: str


class Tracking:
    """Writes and reads MLflow runs. Constructing it calls nobody."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def client(self) -> MlflowClient:
        """The connection, opened on first use."""
        return connect(self.uri)

    def start_run(self, experiment: str, run_name: str, tags: Mapping[str, str]) -> str:
        """Open a run, or the unfinished one with the same ``gem.run_key`` tag again.

        Args:
            experiment: Created when missing; its artifacts lie beside the database of a SQLite store.
            run_name: What people see.
            tags: Text by name.

        Returns:
            The MLflow run's id.
        """
        with explained(self.uri):
            experiment_id = self._experiment(experiment)
            key = tags.get(RUN_KEY)
            for run in self._search([experiment_id], f"tags.`{RUN_KEY}` = '{key}'") if key else ():
                if run.info.status != "FINISHED":
                    self.client.update_run(run.info.run_id, status="RUNNING")
                    self.set_tags(run.info.run_id, tags)
                    return str(run.info.run_id)
            run = self.client.create_run(experiment_id, run_name=run_name, tags=dict(tags))
            return str(run.info.run_id)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        from mlflow.entities import RunTag

        with explained(self.uri):
            self.client.log_batch(run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Record settings; nested ones become ``training.steps`` and so on. A value once logged cannot change."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)) for key, value in flatten(params).items()]
        with explained(self.uri):
            for part in _parts(flat, PARAMS_A_BATCH):
                self.client.log_batch(run_id, params=part)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Record the numbers of one step."""
        self.log_steps(run_id, [(step, metrics)])

    def log_steps(self, run_id: str, steps: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Record the numbers of many steps in one call: far cheaper than a call a step."""
        from mlflow.entities import Metric

        now = int(datetime.now(UTC).timestamp() * 1000)
        metrics = [
            Metric(metric_name(name), float(value), now, step)
            for step, values in steps
            for name, value in values.items()
        ]
        with explained(self.uri):
            for part in _parts(metrics, METRICS_A_BATCH):
                self.client.log_batch(run_id, metrics=part)

    def log_artifact(self, run_id: str, file: Path, folder: str | None = None) -> None:
        """Store a file under the run, in a folder of that name if given."""
        with explained(self.uri):
            self.client.log_artifact(run_id, str(file), folder)

    def log_artifacts(self, run_id: str, folder: Path, into: str | None = None) -> None:
        """Store the content of a folder under the run."""
        with explained(self.uri):
            self.client.log_artifacts(run_id, str(folder), into)

    def log_dict(self, run_id: str, content: Mapping[str, Any], name: str) -> None:
        """Store a dict as a file; ``name`` ends in ``.json`` or ``.yaml``."""
        with explained(self.uri):
            self.client.log_dict(run_id, dict(content), name)

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """Store a text as a file."""
        with explained(self.uri):
            self.client.log_text(run_id, text, name)

    def finish(self, run_id: str, status: Status = "FINISHED") -> None:
        """Close a run."""
        with explained(self.uri):
            self.client.set_terminated(run_id, status)

    def run(self, run_id: str) -> RunRecord:
        """One run.

        Raises:
            GemError: Unknown.
        """
        with explained(self.uri):
            run = self.client.get_run(run_id)
            return _record(run, self.client.get_experiment(run.info.experiment_id).name)

    def runs(self, experiment: str | None = None, *, most: int | None = None) -> list[RunRecord]:
        """The runs of an experiment, or of all, newest first; the whole store unless `most` says how many."""
        query = self.client.search_experiments
        with explained(self.uri):
            experiments: list[Experiment] = all_pages(lambda token: query(max_results=PAGE, page_token=token))
            found = {
                str(item.experiment_id): str(item.name)
                for item in experiments
                if experiment is None or item.name == experiment
            }
            runs = self._search(list(found), most=most) if found else []
            return [_record(run, found[run.info.experiment_id]) for run in runs]

    def series(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """All values of a metric as (step, value), in order of the steps."""
        with explained(self.uri):
            history = self.client.get_metric_history(run_id, metric_name(metric))
        return sorted((item.step, item.value) for item in history)

    def read_artifact(self, run_id: str, name: str) -> bytes:
        """The content of a stored file.

        Raises:
            GemError: No such file, or no store reached.
        """
        with explained(self.uri), tempfile.TemporaryDirectory() as scratch:
            try:
                return Path(self.client.download_artifacts(run_id, name, scratch)).read_bytes()
            except OSError as error:
                raise GemError(
                    f"MLflow run {run_id} has no artifact {name}: look at its list in the MLflow UI"
                ) from error

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            database = sqlite_file(self.uri)
            folder = re.sub(r"[^A-Za-z0-9._-]", "_", name)
            location = str(database.parent / "mlartifacts" / folder) if database else None
            try:
                return str(self.client.create_experiment(name, artifact_location=location))
            except MlflowException:  # another process was faster
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _search(self, experiments: list[str], filter_string: str = "", most: int | None = None) -> list[Run]:
        query = self.client.search_runs
        if most is not None:
            return list(query(experiments, filter_string, max_results=most))
        return all_pages(lambda token: query(experiments, filter_string, max_results=PAGE, page_token=token))


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots.

    >>> flatten({"training": {"steps": 10}, "seed": 1})
    {'training.steps': 10, 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def metric_name(name: str) -> str:
    """The name with what MLflow does not allow in metrics replaced by ``_`` (``MTEB(eng, v2)``)."""
    return re.sub(r"[^A-Za-z0-9_\-. /:]", "_", name)


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _record(run: Run, experiment: str) -> RunRecord:
    info, data = run.info, run.data
    return RunRecord(
        run_id=info.run_id,
        experiment=experiment,
        name=info.run_name or "",
        status=info.status,
        started=datetime.fromtimestamp(info.start_time / 1000, UTC),
        ended=datetime.fromtimestamp(info.end_time / 1000, UTC) if info.end_time else None,
        params=dict(data.params),
        metrics=dict(data.metrics),
        tags=dict(data.tags),
        artifact_uri=info.artifact_uri,
    )
