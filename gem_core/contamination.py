"""How much of what a model is measured on it has read in training: n-grams of words in common. Pure.

Scores learnt by heart say nothing about other texts. An item counts as read when `WORDS` words of it in a row, or all
of a shorter one, stand in a training row (after Brown et al. 2020, "Language models are few-shot learners", appendix C,
with fewer words, since sentence pairs are short). Case and punctuation do not count. In scripts without spaces between
words each character counts as one: that errs towards finding an item read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

WORDS = 8
"""Of an n-gram."""
FEWEST = 4
"""Words that an item has to have: shorter ones occur everywhere, and are left out."""

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana, Han
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


@dataclass(frozen=True)
class Overlap:
    """What evaluation items and training rows have in common."""

    items: int
    """Distinct items long enough to tell."""
    read: tuple[str, ...]
    """Those of them that stand in the training rows."""

    @property
    def share(self) -> float:
        """Items that were read, as a share of all; NaN when none is long enough to tell."""
        return len(self.read) / self.items if self.items else float("nan")


def overlap(rows: Iterable[str], items: Iterable[str]) -> Overlap:
    """Find evaluation items in training rows.

    Args:
        rows: The training texts; read once, one at a time.
        items: The texts that are measured on: sentences, questions, documents.
    """
    grams = {item: set(_grams(words)) for item in items if len(words := _words(item)) >= FEWEST}
    wanted = set().union(*grams.values()) if grams else set()
    lengths = sorted({len(gram) for gram in wanted})
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        words = _words(row)
        for length in lengths:
            seen.update(gram for gram in _windows(words, length) if gram in wanted)
    return Overlap(items=len(grams), read=tuple(item for item, own in grams.items() if own & seen))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return _windows(words, min(WORDS, len(words)))


def _windows(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[start : start + length]) for start in range(len(words) - length + 1))
