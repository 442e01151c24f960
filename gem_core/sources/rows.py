"""The training rows on disk: ragged token ids, memory-mapped, each row with what it serves.

A row is one text, or a supervised group of texts: anchor, positive, negatives.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from gem_core.errors import GemError

Tokens = npt.NDArray[np.int32]
TOKENS_FILE, OFFSETS_FILE, GROUPS_FILE, USES_FILE = "tokens.npy", "offsets.npy", "groups.npy", "uses.npy"

RAW, SPECIAL, CONTRASTIVE = 1, 2, 4
"""What a row may serve, as bits: next-token rows without and with special tokens, contrastive views."""
USES = {"raw": RAW, "special": SPECIAL, "contrastive": CONTRASTIVE}
EVERYTHING = RAW | SPECIAL | CONTRASTIVE


@dataclass(frozen=True)
class Row:
    """A row to be written."""

    texts: Sequence[Sequence[int]]
    """Token ids of its text, or of anchor, positive and negatives."""
    use: int = EVERYTHING


class Rows:
    """Rows of token ids on disk: ``rows[i]`` is the int32 array of a row's (first) text, ``group(i)`` all its texts."""

    def __init__(
        self,
        tokens: Tokens,
        offsets: npt.NDArray[np.int64],
        groups: npt.NDArray[np.int64] | None = None,
        uses: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        self._tokens = tokens
        self._offsets = offsets
        self._groups = np.arange(len(offsets)) if groups is None else groups
        self.uses = np.full(len(self._groups) - 1, EVERYTHING, dtype=np.uint8) if uses is None else uses
        """What each row serves, as bits."""

    @classmethod
    def write(cls, folder: Path, rows: Iterable[Row | Sequence[int]]) -> Self:
        """Write the texts behind each other, where each begins, which belong together and what they serve; open them.

        Args:
            folder: Made if need be.
            rows: Rows, or plain token ids for rows of one text that serve everything.
        """
        folder.mkdir(parents=True, exist_ok=True)
        whole = [row if isinstance(row, Row) else Row([row]) for row in rows]
        parts = [np.asarray(text, dtype=np.int32) for row in whole for text in row.texts]
        np.save(folder / TOKENS_FILE, np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32))
        np.save(folder / OFFSETS_FILE, _running([len(part) for part in parts]))
        np.save(folder / GROUPS_FILE, _running([len(row.texts) for row in whole]))
        np.save(folder / USES_FILE, np.array([row.use for row in whole], dtype=np.uint8))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open what :meth:`write` wrote.

        Raises:
            GemError: There are no rows in ``folder``.
        """
        try:
            # offsets are read whole (they are looked up at random), tokens stay on disk unless there are none
            offsets, groups, uses = (
                np.load(folder / name, allow_pickle=False) for name in (OFFSETS_FILE, GROUPS_FILE, USES_FILE)
            )
            tokens = np.load(folder / TOKENS_FILE, mmap_mode="r" if offsets[-1] else None, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise GemError(f"no prepared rows in {folder} ({error}); prepare the data again") from error
        return cls(tokens, offsets, groups, uses)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text, one row's texts behind the other's."""
        return np.diff(self._offsets)

    def frequencies(self, vocabulary: int) -> npt.NDArray[np.float64]:
        """The share that each of a vocabulary's tokens has of all, [V]."""
        counts = np.bincount(self._tokens, minlength=vocabulary)
        return counts / max(1, counts.sum())

    def __len__(self) -> int:
        return len(self._groups) - 1

    def __getitem__(self, index: int) -> Tokens:
        return self.group(index)[0]

    def group(self, index: int) -> list[Tokens]:
        """All texts of a row: its text alone, or anchor, positive and negatives."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        texts = range(self._groups[index], self._groups[index + 1])
        return [self._tokens[self._offsets[text] : self._offsets[text + 1]] for text in texts]

    def spread(self, use: int, count: int) -> list[Tokens]:
        """The first texts of at most so many rows of a use, evenly spread; of all rows where none serves it."""
        fitting = np.flatnonzero(self.uses & use > 0)
        fitting = fitting if len(fitting) else np.arange(len(self))
        places = np.unique(np.linspace(0, len(fitting) - 1, min(count, len(fitting))).astype(int))
        return [self[int(index)] for index in fitting[places]]

    def too_short(self, use: int, tokens: int, first_token: int | None) -> int | None:
        """The first row of a use with fewer tokens than that, a token every text begins with not counted."""
        heads = self._groups[:-1]
        lengths = self._offsets[heads + 1] - self._offsets[heads]
        for index in np.flatnonzero((lengths <= tokens) & (self.uses & use > 0)):
            text = self[int(index)]
            if len(text) - int(len(text) > 0 and text[0] == first_token) < tokens:
                return int(index)
        return None


def _running(counts: list[int]) -> npt.NDArray[np.int64]:
    totals = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=totals[1:])
    return totals
