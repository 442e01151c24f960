"""Training text by name: hub data sets at a pinned revision, files, and the sandbox, each as one column of texts.

Rows stay in ``datasets``' memory-mapped tables until they are tokenized.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gem_core.errors import GemError
from gem_core.identity import file_digest
from gem_core.sources import hub
from gem_core.sources.models import sandbox_seed
from gem_core.sources.rows import CONTRASTIVE, USES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datasets import Dataset

    from gem_core.recipe import TextSource
    from gem_core.settings import Settings

READERS = {".jsonl": "json", ".parquet": "parquet", ".txt": "text"}
"""File ending -> the builder of ``datasets`` that reads it."""


@dataclass(frozen=True)
class PinnedSource:
    """A text source in the one state that a run used."""

    source: str
    revision: str
    """Full commit of a hub data set; digest of a file."""
    split: str
    column: str
    rows: int | None
    """Rows drawn; None for all."""
    pairs: bool = False
    """Rows of anchor, positive and negatives instead of a text."""
    query_template: str = "{text}"
    """What anchors are wrapped in."""
    use: tuple[str, ...] = tuple(USES)
    """What the rows serve."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {**asdict(self), "use": list(self.use)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> PinnedSource:
        """The inverse of :meth:`to_json`."""
        return cls(**{**content, "use": tuple(content["use"])})

    @property
    def use_bits(self) -> int:
        """What the rows serve, as :mod:`gem_core.sources.rows` writes it; pairs serve the contrastive loss alone."""
        return CONTRASTIVE if self.pairs else sum(USES[use] for use in set(self.use))

    def texts(self, row: dict[str, str | None]) -> list[str]:
        """A loaded row's text, or its anchor in the template, its positive and those negatives it has."""
        if not self.pairs:
            return [row["text"] or ""]
        anchor, *others = (text or "" for text in row.values())
        return [
            self.query_template.replace("{text}", anchor) if anchor.strip() else "",
            others[0],
            *filter(None, others[1:]),
        ]


def pin(source: TextSource, settings: Settings) -> PinnedSource:
    """Resolve what a source names to one state of it, without loading the rows.

    Raises:
        GemError: Unknown, not reachable, or a file of an unknown kind.
    """
    name = source.source
    path = Path(name).expanduser()
    if name.startswith("sandbox:"):
        revision = file_digest(_sandbox_rows(name, settings))
    elif path.suffix in READERS or path.exists():
        if path.suffix not in READERS:
            raise GemError(f"data file {name} is of no known kind: give a {', '.join(READERS)} file, or a hub data set")
        if not path.is_file():
            raise GemError(f"data file {name} does not exist: check data.sources")
        revision = file_digest(path)
    elif source.revision is not None and re.fullmatch(r"[0-9a-f]{40}", source.revision):
        revision = source.revision
    else:
        revision = hub.data_commit(name, source.revision)
    return PinnedSource(
        name, revision, source.split, source.column, source.rows, source.pairs, source.query_template, source.use
    )


def data_license(source: PinnedSource) -> str | None:
    """The licence that the card of a hub data set states at this revision; None for files, or where none is stated."""
    if source.source.startswith("sandbox:") or Path(source.source).suffix in READERS:
        return None
    return hub.data_license(source.source, source.revision)


def load(source: PinnedSource, settings: Settings, *, seed: int) -> tuple[Dataset, npt.NDArray[np.int64]]:
    """Load a source's texts and draw its rows.

    Args:
        source: Which.
        settings: Where the sandbox is.
        seed: The draw follows from it.

    Returns:
        A data set with the column ``text``, or for pairs ``anchor``, ``positive`` and its negatives in this order; and
        the number that each of its rows has in the source, int64 [rows].

    Raises:
        GemError: No such split or column, a column that is not text, or fewer rows than asked for.
    """
    table = _table(source, settings)
    columns = _columns(source, table.column_names)
    for column in columns:
        kind = str(getattr(table.features[column], "dtype", "nested"))
        if kind not in ("string", "large_string"):
            raise GemError(f"column {column!r} of {source.source} is {kind}, not text: choose a column of texts")
    chosen = np.arange(len(table))
    if source.rows is not None:
        if source.rows > len(table):
            raise GemError(
                f"{source.source} has {len(table)} rows, fewer than data.sources.rows ({source.rows}): "
                "lower it or leave it out"
            )
        chosen = np.sort(np.random.default_rng(seed).choice(len(table), source.rows, replace=False))
        table = table.select(chosen)
    table = table.select_columns(columns)
    return table if source.pairs or columns == ["text"] else table.rename_column(columns[0], "text"), chosen


def _columns(source: PinnedSource, found: list[str]) -> list[str]:
    """The columns of a source that are read.

    Raises:
        GemError: One is missing.
    """
    if source.pairs:
        wanted = ["anchor", "positive"]
        negatives = [name for name in found if re.fullmatch(r"negative(_\d+)?", name)]
    else:
        wanted, negatives = ["text" if Path(source.source).suffix == ".txt" else source.column], []
    for column in wanted:
        if column not in found:
            cure = "rename" if source.pairs else "set data.sources.column to"
            raise GemError(f"{source.source} has no column {column!r}: {cure} one of {', '.join(found)}")
    return [*wanted, *sorted(negatives)]


def _table(source: PinnedSource, settings: Settings) -> Dataset:
    import datasets

    name = source.source
    path = _sandbox_rows(name, settings) if name.startswith("sandbox:") else Path(name).expanduser()
    with _explained(source), quiet_bars():
        if path.suffix in READERS:
            if path.stat().st_size == 0:
                raise GemError(f"{name} is empty: give it at least two rows of text")
            return datasets.load_dataset(READERS[path.suffix], data_files=str(path), split="train")
        return datasets.load_dataset(name, split=source.split, revision=source.revision)


def _sandbox_rows(reference: str, settings: Settings) -> Path:
    from gem_core import sandbox

    rows: Path = sandbox.build(settings.home, sandbox_seed(reference)).training_rows
    return rows


@contextmanager
def _explained(source: PinnedSource) -> Iterator[None]:
    """Turn what ``datasets`` raises about a source into one line."""
    import datasets

    try:
        yield
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, GemError):
            raise
        reason = str(error.__cause__ or error).strip().split("\n")[0][:300]
        raise GemError(f"data source {source.source} (split {source.split}) cannot be read: {reason}") from error


@contextmanager
def quiet_bars() -> Iterator[None]:
    """No progress bars of ``datasets``: progress is reported by whoever called."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
