"""Rows of token ids on disk, and the sequences of every step as a pure function of (seed, step).

Because nothing is remembered between steps, a resumed run needs no more than the number of its next step, and any
number of workers plan the same global batch and take their shares of it (:func:`share`).
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from gem_core.errors import GemError
from gem_core.recipe import Objective

Tokens = npt.NDArray[np.int32]
TOKENS_FILE, OFFSETS_FILE = "tokens.npy", "offsets.npy"


class Rows:
    """Ragged rows of token ids, memory-mapped: ``rows[i]`` is an int32 array that lies on disk."""

    def __init__(self, tokens: Tokens, offsets: npt.NDArray[np.int64]) -> None:
        self._tokens = tokens
        self._offsets = offsets

    @classmethod
    def write(cls, folder: Path, rows: Iterable[Sequence[int]]) -> Self:
        """Write ``tokens.npy`` (row behind row) and ``offsets.npy`` (where each begins), and open them."""
        folder.mkdir(parents=True, exist_ok=True)
        parts = [np.asarray(row, dtype=np.int32) for row in rows]
        offsets = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        np.save(folder / TOKENS_FILE, np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32))
        np.save(folder / OFFSETS_FILE, offsets)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open what :meth:`write` wrote.

        Raises:
            GemError: There are no rows in ``folder``.
        """
        try:
            # offsets are read whole (they are looked up at random), tokens stay on disk unless there are none
            offsets = np.load(folder / OFFSETS_FILE, allow_pickle=False)
            tokens = np.load(folder / TOKENS_FILE, mmap_mode="r" if offsets[-1] else None, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise GemError(f"no prepared rows in {folder} ({error}); prepare the data again") from error
        return cls(tokens, offsets)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each row."""
        return np.diff(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> Tokens:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._tokens[self._offsets[index] : self._offsets[index + 1]]


@dataclass(frozen=True)
class TokenSequence:
    """Token ids as the network reads them."""

    tokens: Tokens
    prefix: int
    """Tokens before the special tokens; all of them where there are none."""
    index: int
    """Which of its kind in the global batch (for a view: the number of the text)."""

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Batch:
    """The global batch of one step, before it is shared out."""

    raw: tuple[TokenSequence, ...]
    """Rows without special tokens, plain causal."""
    special: tuple[TokenSequence, ...]
    """Rows with special tokens: continuation and reconstruction, under the GEM mask."""
    views: tuple[TokenSequence, ...]
    """Two views of each of the n contrastive texts, special tokens last: indices 0..n-1, then n..2n-1."""
    same: npt.NDArray[np.bool_]
    """[n, n]: where two contrastive texts are the same tokens, so that none is the other's negative."""


@dataclass(frozen=True)
class Planner:
    """Draws the batch of any step."""

    rows: Rows
    objective: Objective
    special_ids: tuple[int, ...]
    batch_size: int
    seed: int
    first_token: int | None
    """A token every text begins with (BOS). It is never dropped, nor the whole of a prefix, nor restored."""
    max_positions: int | None
    """The longest sequence the network takes; a reconstruction row restores as much of its text as fits."""

    def batch(self, step: int) -> Batch:
        """The global batch of a step counted from 0."""
        generator = np.random.default_rng([self.seed, 1, step])
        texts = [np.asarray(self.rows[i]) for i in self._indices(step)]
        with_special = _rounded((1 - self.objective.raw_share) * len(texts), generator)
        restoring = _rounded(self.objective.reconstruction_share * with_special, generator)
        raw, special, prefixes = [], [], []
        for number, text in enumerate(texts):
            begin = self._begin(text)
            cut = int(generator.integers(begin + 1, max(begin + 2, len(text))))
            if number >= with_special or len(text) < begin + 2:  # too short to be cut
                raw.append(TokenSequence(text, len(text), number))
            elif number < restoring:
                special.append(self._reconstruction(text, number))
                prefixes.append(text)
            else:
                special.append(TokenSequence(np.concatenate([text[:cut], self._special, text[cut:]]), cut, number))
                prefixes.append(text[:cut])
        return Batch(tuple(raw), tuple(special), *self._views(texts, prefixes, generator))

    def _indices(self, step: int) -> list[int]:
        """The step's rows: a fresh order of all rows each epoch, cut into batches without regard to its end."""
        count, wanted = len(self.rows), range(step * self.batch_size, (step + 1) * self.batch_size)
        return [int(_order(self.seed, number // count, count)[number % count]) for number in wanted]

    def _begin(self, text: Tokens) -> int:
        return int(len(text) > 0 and text[0] == self.first_token)

    @property
    def _special(self) -> Tokens:
        return np.asarray(self.special_ids, dtype=np.int32)

    def _reconstruction(self, text: Tokens, number: int) -> TokenSequence:
        begin = self._begin(text)
        if self.max_positions is not None:
            text = text[: (self.max_positions - len(self.special_ids) + begin) // 2]
        return TokenSequence(np.concatenate([text, self._special, text[begin:]]), len(text), number)

    def _views(
        self, texts: list[Tokens], prefixes: list[Tokens], generator: np.random.Generator
    ) -> tuple[tuple[TokenSequence, ...], npt.NDArray[np.bool_]]:
        contrastive = self.objective.contrastive
        chosen = {"all": texts, "special": prefixes, "none": []}[contrastive.rows]
        rates = (contrastive.dropout if contrastive.views == "both" else 0.0, contrastive.dropout)
        views = []
        for view, rate in enumerate(rates):
            for number, text in enumerate(chosen):
                kept = np.concatenate([self._thinned(text, rate, generator), self._special])
                views.append(TokenSequence(kept, len(kept) - len(self.special_ids), view * len(chosen) + number))
        contents = [text.tobytes() for text in chosen]
        same = np.array([[one == two for two in contents] for one in contents], dtype=np.bool_)
        return tuple(views), same

    def _thinned(self, text: Tokens, rate: float, generator: np.random.Generator) -> Tokens:
        begin = self._begin(text)
        keep = generator.random(len(text)) >= rate
        keep[:begin] = True
        if len(text) > begin and not keep[begin:].any():
            keep[begin + int(generator.integers(len(text) - begin))] = True
        return text[keep]


@functools.lru_cache(maxsize=2)  # a batch may lie across two epochs
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def _rounded(number: float, generator: np.random.Generator) -> int:
    """Rounded up as often as its fraction says, so that shares of small batches are met on average."""
    return int(number + generator.random())


def share(sequences: Sequence[TokenSequence], rank: int, world: int) -> list[TokenSequence]:
    """A worker's part, longest first; every part gets its share of the long ones."""
    return sorted(sequences, key=lambda s: (-len(s), s.index))[rank::world]


OVERHEAD_TOKENS = 96
"""What a forward and backward call costs besides its tokens, in tokens."""
TOKENS_AT_ONCE = 16_384
"""Padded tokens of one call at most (32 rows of 512), unless a single row has more."""


def length_buckets(sequences: Sequence[TokenSequence]) -> list[list[TokenSequence]]:
    """Cut sequences, ordered longest first, into padded calls of the least total cost (dynamic programming)."""
    lengths = [len(s) for s in sequences]
    best: list[tuple[int, int]] = [(0, 0)]  # cost of the first j sequences, where their last call begins
    for end in range(1, len(lengths) + 1):
        best.append(
            min(
                (best[begin][0] + (end - begin) * lengths[begin] + OVERHEAD_TOKENS, begin)
                for begin in range(end)
                if (end - begin) * lengths[begin] <= TOKENS_AT_ONCE or end - begin == 1
            )
        )
    calls, end = [], len(lengths)
    while end:
        begin = best[end][1]
        calls.append(list(sequences[begin:end]))
        end = begin
    return calls[::-1]


def padded(sequences: Sequence[Tokens | list[int]], filler: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Right-padded ids [B, L] and the lengths [B]. Under a causal mask no token sees a pad, whatever it is."""
    lengths = np.array([len(tokens) for tokens in sequences], dtype=np.int64)
    ids = np.full((len(sequences), int(lengths.max())), filler, dtype=np.int64)
    for row, tokens in zip(ids, sequences, strict=True):
        row[: len(tokens)] = tokens
    return ids, lengths
