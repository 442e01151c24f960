"""The sequences of every step, as a pure function of (seed, step).

Because nothing is remembered between steps, a resumed run needs no more than the number of its next step, and any
number of workers plan the same global batch and take their shares of it (:func:`share`).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gem_core.errors import GemError
from gem_core.recipe.method import Objective
from gem_core.sources.rows import CONTRASTIVE, RAW, SPECIAL, Rows, Tokens


@dataclass(frozen=True)
class TokenSequence:
    """Token ids as the network reads them."""

    tokens: Tokens
    prefix: int
    """Tokens before the special tokens; all of them where there are none."""
    index: int
    """Which of its kind in the global batch."""
    hidden: npt.NDArray[np.bool_] | None = None
    """Tokens that no other sees: what prefix dropout of the kind ``mask`` dropped."""

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
    """Special tokens last. First views of the n contrastive rows (or anchors), indices 0..n-1; second ones (or
    positives), n..2n-1; then the hard negatives there are, m in all. One view of each where nothing is contrasted."""
    same: npt.NDArray[np.bool_]
    """[n, n + m]: where a second text is the same tokens as one of the row's own two, so that it is no negative; empty
    where nothing is contrasted."""
    texts: tuple[Tokens, ...]
    """What each view was made of: nothing dropped, no special tokens."""


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

    def check(self) -> None:
        """Refuse rows that are to be cut and cannot be.

        Raises:
            GemError: Naming the first of them.
        """
        short = self.rows.too_short(SPECIAL, 2, self.first_token)
        if short is not None:
            raise GemError(
                f"row {short} has {len(self.rows[short])} token(s), too few to be cut into prefix and suffix; "
                "prepare the data again, which leaves such rows out"
            )

    def batch(self, step: int) -> Batch:
        """The global batch of a step counted from 0."""
        generator = np.random.default_rng([self.seed, 1, step])
        indices = self._indices(step)
        rows, uses = [self.rows.group(index) for index in indices], self.rows.uses[indices]
        special = self._special_rows([row[0] for row in rows], uses, generator)
        raw = tuple(
            TokenSequence(row[0], len(row[0]), place)
            for place, (row, use) in enumerate(zip(rows, uses, strict=True))
            if use & RAW and place not in special
        )
        contrasted = [
            [special[place].tokens[: special[place].prefix]] if prefix_alone else row
            for place, row in enumerate(rows)
            if uses[place] & CONTRASTIVE
            for prefix_alone in [self.objective.contrastive.rows == "special" and len(row) == 1]
            if place in special or not prefix_alone
        ]
        views = self._views([] if self.objective.contrastive.rows == "none" else contrasted, generator)
        return Batch(raw, tuple(special.values()), *views)

    def _special_rows(
        self, texts: list[Tokens], uses: npt.NDArray[np.uint8], generator: np.random.Generator
    ) -> dict[int, TokenSequence]:
        """The batch's rows with special tokens, by their places in it."""
        cuts = [self._cut(text, generator) for text in texts]
        language = uses & (RAW | SPECIAL)
        wanted = _rounded((1 - self.objective.raw_share) * np.count_nonzero(language), generator)
        bound, free = np.flatnonzero(language == SPECIAL), np.flatnonzero(language == RAW | SPECIAL)
        chosen = [int(place) for place in [*bound, *free[: max(0, wanted - len(bound))]]]
        restoring = _rounded(self.objective.reconstruction_share * len(chosen), generator)
        return {
            place: self._reconstruction(texts[place], place)
            if number < restoring
            else self._continuation(texts[place], cuts[place], place)
            for number, place in enumerate(chosen)
        }

    def _cut(self, text: Tokens, generator: np.random.Generator) -> int:
        """Tokens before the cut: uniform between the recipe's shares, at least a token on each side."""
        begin = self._begin(text)
        length = len(text) - begin
        low, high = self.objective.cut
        first = max(1, min(int(np.ceil(low * length)), length - 1))
        last = max(first, min(int(high * length), length - 1))
        return begin + int(generator.integers(first, last + 1))

    def _indices(self, step: int) -> list[int]:
        """The step's rows: a fresh order of all rows each epoch, cut into batches without regard to its end."""
        count, wanted = len(self.rows), range(step * self.batch_size, (step + 1) * self.batch_size)
        return [int(_order(self.seed, number // count, count)[number % count]) for number in wanted]

    def _begin(self, text: Tokens) -> int:
        return int(len(text) > 0 and text[0] == self.first_token)

    @property
    def _special(self) -> Tokens:
        return np.asarray(self.special_ids, dtype=np.int32)

    def _continuation(self, text: Tokens, cut: int, number: int) -> TokenSequence:
        return TokenSequence(np.concatenate([text[:cut], self._special, text[cut:]]), cut, number)

    def _reconstruction(self, text: Tokens, number: int) -> TokenSequence:
        begin = self._begin(text)
        if self.max_positions is not None:
            text = text[: (self.max_positions - len(self.special_ids) + begin) // 2]
        return TokenSequence(np.concatenate([text, self._special, text[begin:]]), len(text), number)

    def _views(
        self, rows: list[list[Tokens]], generator: np.random.Generator
    ) -> tuple[tuple[TokenSequence, ...], npt.NDArray[np.bool_], tuple[Tokens, ...]]:
        """Two views of every row: of its one text with dropout, or its anchor and its positive as they are."""
        contrastive = self.objective.contrastive
        alone = contrastive.bag_of_words == 1
        first = contrastive.dropout if contrastive.views == "both" else 0.0
        rates = (contrastive.dropout,) if alone else (first, contrastive.dropout)
        texts = [(row[min(view, len(row) - 1)], rate if len(row) == 1 else 0.0)
                 for view, rate in enumerate(rates) for row in rows]  # fmt: skip
        texts += [(negative, 0.0) for row in rows for negative in row[2:]]
        views = tuple(self._view(text, rate, number, generator) for number, (text, rate) in enumerate(texts))
        whole = tuple(text for text, _ in texts)
        return views, np.zeros((0, 0), dtype=np.bool_) if alone else _same(whole, len(rows)), whole

    def _view(self, text: Tokens, rate: float, number: int, generator: np.random.Generator) -> TokenSequence:
        """A text with its special tokens, a share of it dropped."""
        begin = self._begin(text)
        keep = generator.random(len(text)) >= rate
        keep[:begin] = True
        if len(text) > begin and not keep[begin:].any():
            keep[begin + int(generator.integers(len(text) - begin))] = True
        if self.objective.contrastive.dropout_kind == "mask":
            hidden = np.concatenate([~keep, np.zeros(len(self.special_ids), dtype=np.bool_)])
            return TokenSequence(np.concatenate([text, self._special]), len(text), number, hidden)
        return TokenSequence(np.concatenate([text[keep], self._special]), int(keep.sum()), number)


def _same(texts: Sequence[Tokens], count: int) -> npt.NDArray[np.bool_]:
    """``Batch.same`` of ``count`` first texts, as many second ones, and negatives."""
    numbers: dict[bytes, int] = {}
    content = np.array([numbers.setdefault(text.tobytes(), len(numbers)) for text in texts], dtype=np.int64)
    anchor, second = content[:count], content[count:]
    own = second[:count]
    same: npt.NDArray[np.bool_] = (anchor[:, None] == second) | (own[:, None] == second)
    same[:, :count] |= (anchor[:, None] == anchor) | (own[:, None] == anchor)
    return same


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


def length_buckets(
    sequences: Sequence[TokenSequence], most_rows: int | None = None, *, overhead: int = OVERHEAD_TOKENS
) -> list[list[TokenSequence]]:
    """Cut sequences, ordered longest first, into padded calls of the least total cost (dynamic programming).

    A call costs its padded tokens and ``overhead`` more.
    No call has more rows than ``most_rows``, nor, unless it has one row, more than ``TOKENS_AT_ONCE`` tokens.
    """
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    cost = np.zeros(len(lengths) + 1, dtype=np.int64)  # of the first j sequences
    begins = np.zeros(len(lengths) + 1, dtype=np.int64)  # where their last call begins
    for end in range(1, len(lengths) + 1):
        rows = TOKENS_AT_ONCE // int(lengths[end - 1])  # more would be too many tokens even of this length
        rows = max(1, min(end, rows, most_rows or end))
        begun = np.arange(end - rows, end)
        tokens = (end - begun) * lengths[begun]
        fits = (tokens <= TOKENS_AT_ONCE) | (begun == end - 1)
        whole = np.where(fits, cost[begun] + tokens + overhead, np.iinfo(np.int64).max)
        best = int(whole.argmin())
        cost[end], begins[end] = whole[best], begun[best]
    calls, end = [], len(lengths)
    while end:
        begin = int(begins[end])
        calls.append(list(sequences[begin:end]))
        end = begin
    return calls[::-1]


def padded(
    sequences: Sequence[npt.NDArray[np.generic] | list[int]], filler: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Right-padded ids [B, L] and the lengths [B]. Under a causal mask no token sees a pad, whatever it is."""
    lengths = np.array([len(tokens) for tokens in sequences], dtype=np.int64)
    ids = np.full((len(sequences), int(lengths.max())), filler, dtype=np.int64)
    for row, tokens in zip(ids, sequences, strict=True):
        row[: len(tokens)] = tokens
    return ids, lengths
