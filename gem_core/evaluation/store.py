"""Scores on disk: one entry a (model, task, read-out, settings), written whole or not at all.

The only cache of evaluation results. mteb's own is switched off: its key is a model name and a revision.
An entry that cannot be read back is measured again, and the log says so.
"""

import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from gem_core.errors import GemError
from gem_core.evaluation.plan import PlannedTask
from gem_core.evaluation.scores import TaskScore
from gem_core.identity import file_digest

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

MEANS = frozenset({"accuracy", "ndcg_at_10"})
"""Metrics of embedding tasks that are the mean over items of their recorded contributions."""


@dataclass(frozen=True)
class Measured:
    """What a harness hands over: the requested task's score, a group's leaves behind it, and the records."""

    scores: tuple[TaskScore, ...]
    records: "pa.Table | None"
    seconds: float


class Entry(BaseModel):
    """What is kept of one measurement: the requested task's score, its leaves', and what they were measured under."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    model: str
    read_out: str
    settings: dict[str, Any]
    scores: tuple[TaskScore, ...]
    seconds: float
    records_digest: str | None = None
    """SHA-256 of the file of its records; None without records, and where an earlier release wrote it."""


class ScoreStore:
    """A folder of entries; safe to share between processes, since entries only ever appear whole."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def load(self, model: str, planned: PlannedTask, read_out: str = "") -> Entry | None:
        """The entry of an earlier measurement, or None when there is none that can be used."""
        path = self._path(model, planned, read_out)
        try:
            entry = Entry.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValidationError, OSError) as error:
            log.warning("Score entry %s cannot be read and is measured again: %s", path, str(error).splitlines()[0])
            return None
        belongs = (entry.model, entry.read_out, entry.settings) == (model, read_out, planned.settings)
        why = self._damage(entry) if belongs else "it belongs to another measurement"
        if why is not None:
            log.warning("Score entry %s is measured again: %s", path, why)
            return None
        return entry

    def save(self, model: str, planned: PlannedTask, read_out: str, measured: Measured) -> Entry:
        """Keep a measurement; the records are in place before the entry that names them.

        Raises:
            GemError: When the folder cannot be written.
        """
        path = self._path(model, planned, read_out)
        scores, records, digest = measured.scores, measured.records, None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if records is not None:
                from pyarrow import parquet

                file = path.with_name(f"{path.stem}.parquet")
                _write(file, lambda stream: parquet.write_table(records, stream, compression="zstd"))
                digest = file_digest(file)
                name = file.relative_to(self.root).as_posix()
                scores = tuple(score.model_copy(update={"records": name}) for score in scores)
            seconds = round(measured.seconds, 3)
            entry = Entry(
                model=model,
                read_out=read_out,
                settings=planned.settings,
                scores=scores,
                seconds=seconds,
                records_digest=digest,
            )
            content = entry.model_dump_json(indent=1).encode()
            _write(path, lambda stream: stream.write(content))
        except OSError as error:
            raise GemError(f"cannot keep scores in {self.root}: {error.strerror or error}; free or mount it") from error
        return entry

    def items(self, score: TaskScore) -> dict[str, dict[str, float]] | None:
        """Each item's contribution to `score` in points, by leaf task and item id; None where none are kept.

        Some embedding tasks' metrics (a correlation, a V-measure) are no mean over items: see :meth:`predictions`.
        """
        if score.records is None or (score.kind == "embedding" and score.metric not in MEANS):
            return None
        if score.kind == "generation":  # one row a continuation, a column for each thing that is read off it
            aspect = score.task.partition("-")[2]
            table = self._records(score.records, ["item", aspect])
            if table is None:
                return None
            shares = zip(table["item"].to_pylist(), table[aspect].to_pylist(), strict=True)
            return {score.task: {item: 100.0 * share for item, share in shares}}
        table = self._records(score.records, ["task", "item", "contribution" if score.kind == "embedding" else "score"])
        if table is None:
            return None
        items: dict[str, dict[str, float]] = {}
        for task, item, value in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
            if value is not None:
                items.setdefault(task, {})[item] = 100.0 * value
        if score.task in items:
            return {score.task: items[score.task]}
        return items

    def predictions(self, score: TaskScore) -> dict[str, tuple[Any, Any]] | None:
        """Prediction and gold of each item of `score`, by its id, as they were recorded; None where none are kept.

        For scores that are no mean over items: a similarity and a number, several similarities and 0 or 1, clusters
        and labels.
        """
        if score.records is None or score.kind != "embedding" or score.metric in MEANS:
            return None
        from pyarrow import compute

        table = self._records(score.records, ["task", "item", "prediction", "gold"])
        if table is None:
            return None
        table = table.filter(compute.equal(table["task"], score.task))
        rows = zip(*(table[name].to_pylist() for name in table.column_names[1:]), strict=True)
        return {item: (json.loads(prediction), json.loads(gold)) for item, prediction, gold in rows} or None

    def continuations(self, score: TaskScore) -> "pa.Table | None":
        """Prompts, what was written from them, and what was read off each; None where none are kept.

        Columns as in :data:`gem_core.evaluation.continuations.RECORDS`.
        """
        return None if score.records is None or score.kind != "generation" else self._records(score.records, None)

    def _records(self, path: str, columns: list[str] | None) -> "pa.Table | None":
        """Some columns of a table of records, or all; None, and a line in the log, where they cannot be read."""
        import pyarrow
        from pyarrow import parquet

        try:
            return parquet.read_table(self.root / path, columns=columns)
        except (OSError, pyarrow.ArrowException) as error:
            log.warning("Records %s cannot be read and are left out: %s", self.root / path, str(error).splitlines()[0])
            return None

    def _damage(self, entry: Entry) -> str | None:
        """What is wrong with the records of an entry; None when they are there, and those that were written."""
        for file in {self.root / score.records for score in entry.scores if score.records}:
            try:
                if entry.records_digest not in (None, file_digest(file)):
                    return "its records were changed or damaged"
            except OSError as error:
                gone = isinstance(error, FileNotFoundError)
                return "its records are gone" if gone else f"its records cannot be read ({error.strerror or error})"
        return None

    def _path(self, model: str, planned: PlannedTask, read_out: str) -> Path:
        name = ".".join(filter(None, (planned.kind, quote(planned.task, safe=""), read_out, planned.digest[:16])))
        return self.root / model / f"{name}.json"


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write to a temporary file beside `path` and move it there, so that a crash leaves the old state or the new."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:80]}.", delete=False) as stream:
        temporary = Path(stream.name)
        try:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        except BaseException:
            temporary.unlink()
            raise
    temporary.chmod(0o644)  # whoever shares the folder may read it
    temporary.replace(path)
