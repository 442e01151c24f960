"""From the recipe's data to rows of token ids on disk: drawn, joined, shuffled, tokenized, pinned, with a digest.

A row is what the base's own tokenizer makes of the raw text: a token it puts in front (BOS) stays, since the base was
trained with it; one it puts behind (EOS) goes, since the method cuts rows and goes on behind them. Blank rows and rows
of a single token, which cannot be cut, are skipped and counted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gem_core.errors import GemError
from gem_core.sources.rows import Row, Rows
from gem_core.sources.texts import PinnedSource, load, pin

if TYPE_CHECKING:
    from datasets import Dataset

    from gem_core.recipe import Data
    from gem_core.settings import Settings
    from gem_core.sources.models import ResolvedModel

Progress = Callable[[str, float], None]

SUMMARY = "data.json"
TEXTS_A_BATCH = 1000
"""Texts the tokenizer is given at once; it spreads them over the cores."""


@dataclass(frozen=True)
class PreparedData:
    """Rows ready to train on."""

    folder: Path
    """Holds :class:`gem_core.method.batches.Rows` and ``data.json``."""
    digest: str
    """Over the token ids and everything that led to them."""
    rows: int
    tokens: int
    truncated: int
    """Rows cut to the limit."""
    dropped: int
    """Rows left out because they were longer than the limit."""
    skipped: int
    """Rows with a blank text or one of a single token."""
    sources: tuple[PinnedSource, ...]
    """Each source in the state that was used."""

    @property
    def mean_length(self) -> float:
        """Tokens a row."""
        return self.tokens / self.rows

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, the folder as a string."""
        return {**asdict(self), "folder": str(self.folder)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> PreparedData:
        """The inverse of :meth:`to_json`."""
        sources = tuple(PinnedSource.from_json(source) for source in content["sources"])
        return cls(**{**content, "folder": Path(content["folder"]), "sources": sources})


def prepare(
    data: Data,
    base: ResolvedModel,
    *,
    seed: int,
    folder: Path,
    settings: Settings,
    progress: Progress | None = None,
) -> PreparedData:
    """Make the rows of a recipe, or find them made.

    Args:
        data: The recipe's ``data``.
        base: Whose tokenizer makes the tokens.
        seed: Drawing and shuffling follow from it.
        folder: Where the rows go. Rows of the same specification are kept, others replaced.
        settings: Where the sandbox is.
        progress: Called with what is happening and the share done.

    Returns:
        What was made.

    Raises:
        GemError: A source that cannot be read, fewer than two usable rows, a row too long where the recipe refuses
            that, or no space.
    """
    pinned = tuple(pin(source, settings) for source in data.sources)
    spec = {
        "sources": [source.to_json() for source in pinned],
        "max_length": data.max_length,
        "on_long": data.on_long,
        "seed": seed,
        "tokenizer": base.digest,
    }
    found = _existing(folder, spec)
    if found is not None:
        return found
    rows = _TokenRows(data, base, pinned, settings, seed, progress)
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        written = Rows.write(partial, rows)
        rows.check(len(written))
        digest = hashlib.sha256(f"{json.dumps(spec, sort_keys=True)}\n{rows.hash.hexdigest()}".encode()).hexdigest()
        prepared = PreparedData(
            folder=folder,
            digest=digest,
            rows=len(written),
            tokens=int(written.lengths.sum()),
            truncated=rows.counts["truncated"],
            dropped=rows.counts["dropped"],
            skipped=rows.counts["skipped"],
            sources=pinned,
        )
        (partial / SUMMARY).write_text(json.dumps({"spec": spec, "prepared": prepared.to_json()}, indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise GemError(f"the rows cannot be stored in {folder} ({error.strerror or error}): free some space") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return prepared


def _existing(folder: Path, spec: dict[str, Any]) -> PreparedData | None:
    """The rows in a folder if they were made from this specification."""
    try:
        content = json.loads((folder / SUMMARY).read_text())
    except (OSError, ValueError):
        return None
    if content.get("spec") != spec:
        return None
    return PreparedData.from_json({**content["prepared"], "folder": str(folder)})


class _TokenRows:
    """The rows of token ids in their final order, hashed and counted while they pass."""

    def __init__(
        self,
        data: Data,
        base: ResolvedModel,
        pinned: tuple[PinnedSource, ...],
        settings: Settings,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self._data = data
        self._base = base
        self._pinned = pinned
        self._settings = settings
        self._seed = seed
        self._progress = progress
        self.counts: Counter[str] = Counter()
        self.hash = hashlib.sha256()

    def __iter__(self) -> Iterator[Row]:
        tokenize = _Tokenizer(self._base.folder)
        loaded = [load(source, self._settings, seed=self._seed + number) for number, source in enumerate(self._pinned)]
        origin = np.concatenate([np.full(len(numbers), source) for source, (_, numbers) in enumerate(loaded)])
        place = np.concatenate([np.arange(len(numbers)) for _, numbers in loaded])
        order = np.random.default_rng([self._seed, len(loaded)]).permutation(len(place))
        for start in range(0, len(order), TEXTS_A_BATCH):
            part = order[start : start + TEXTS_A_BATCH]
            if self._progress is not None:
                self._progress("tokenizing", start / len(order))
            groups = self._groups([table for table, _ in loaded], origin[part], place[part])
            ids = iter(tokenize([text for group in groups for text in group]))
            for index, group in zip(part, groups, strict=True):
                source = self._pinned[origin[index]]
                name = f"row {loaded[origin[index]][1][place[index]] + 1} of {source.source}"
                texts = self._kept(group, [next(ids) for _ in group], tokenize.front, name)
                if texts is not None:
                    row = Row(texts, source.use_bits)
                    for text in texts:
                        self.hash.update(np.array([row.use, len(text), *text], dtype="<i4").tobytes())
                    yield row
        if self._progress is not None:
            self._progress("tokenized", 1.0)

    def _groups(
        self, tables: list[Dataset], origin: npt.NDArray[np.int64], place: npt.NDArray[np.int64]
    ) -> list[list[str]]:
        """The texts of some rows, each from its source's table."""
        groups: list[list[str]] = [[] for _ in origin]
        for number, table in enumerate(tables):
            mine = np.flatnonzero(origin == number)
            columns = table[place[mine]] if len(mine) else {}
            rows = zip(*columns.values(), strict=True)
            for index, values in zip(mine, rows, strict=True):
                groups[index] = self._pinned[number].texts(dict(zip(columns, values, strict=True)))
        return groups

    def _kept(self, texts: list[str], ids: list[list[int]], front: int, name: str) -> list[list[int]] | None:
        """The row's texts as they are trained on; None for a row that is left out."""
        limit = self._data.max_length
        if any(not text.strip() or len(one) < front + 2 for text, one in zip(texts, ids, strict=True)):
            self.counts["skipped"] += 1
            return None
        longest = max(map(len, ids))
        if longest > limit:
            if self._data.on_long == "refuse":
                raise GemError(
                    f"{name} has {longest} tokens, the limit is {limit}: raise data.max_length, or set "
                    "data.on_long to truncate or drop"
                )
            self.counts["truncated" if self._data.on_long == "truncate" else "dropped"] += 1
            if self._data.on_long == "drop":
                return None
        return [one[:limit] for one in ids]

    def check(self, rows: int) -> None:
        """Refuse what nothing can be learnt from."""
        names = ", ".join(source.source for source in self._pinned)
        left_out = f"{self.counts['skipped']} blank or single-token rows and {self.counts['dropped']} too long ones"
        if rows == 0:
            raise GemError(
                f"there is no text to train on in {names} ({left_out} left out): check data.sources and its column"
            )
        if rows == 1:
            raise GemError(
                f"{names} has a single row ({left_out} left out): the contrastive loss compares rows, give at least two"
            )


class _Tokenizer:
    """Texts -> ids as the base's tokenizer makes them of raw text, without what it puts behind."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._tokenizer.model_max_length = int(1e9)  # rows are cut and counted here, without its warning
        plain = self._tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = self._tokenizer("a")["input_ids"]
        self.front = next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)
        """Tokens it puts in front of every text."""
        self._behind = len(whole) - self.front - len(plain)

    def __call__(self, texts: list[str]) -> list[list[int]]:
        rows: list[list[int]] = self._tokenizer(texts, return_attention_mask=False, return_token_type_ids=False)[
            "input_ids"
        ]
        return [row[: len(row) - self._behind] for row in rows] if self._behind > 0 else rows
