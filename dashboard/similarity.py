"""How two models see the same texts: cosine similarities and where they disagree. Pure functions, no Streamlit."""

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gem_core.errors import GemError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_TEXTS = 12
"""A matrix of more texts than this cannot be read."""
LONGEST_TEXT = 2000
"""Characters; keeps one reader from occupying the machine that serves all of them."""


def texts_of(typed: str) -> list[str]:
    """The texts a reader typed, one per line, blank lines left out.

    Raises:
        GemError: fewer than two texts, more than ``MOST_TEXTS``, or one longer than ``LONGEST_TEXT``.
    """
    texts = [line.strip() for line in typed.splitlines() if line.strip()]
    if not texts:
        raise GemError("There is no text to compare: type at least two texts, one per line.")
    if len(texts) == 1:
        raise GemError("One text has nothing to be compared with: add a second line.")
    if len(texts) > MOST_TEXTS:
        raise GemError(f"That is {len(texts)} texts; compare at most {MOST_TEXTS} at a time.")
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    if len(texts[longest]) > LONGEST_TEXT:
        raise GemError(f"Text {longest + 1} has {len(texts[longest])} characters; at most {LONGEST_TEXT} fit here.")
    return texts


def cosine_similarities(embeddings: np.ndarray) -> np.ndarray:
    """Cosine similarity of every pair, [N, D] in, [N, N] out, each within [-1, 1]."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(norms, np.finfo(embeddings.dtype).tiny)
    similarities: np.ndarray = np.clip(unit @ unit.T, -1.0, 1.0)
    return similarities


@dataclass(frozen=True)
class Pair:
    """Two texts and how similar each model finds them. Ranks count from 1, the most similar pair."""

    first: int
    second: int
    left: float
    right: float
    left_rank: int
    right_rank: int


def pairs(left: np.ndarray, right: np.ndarray) -> list[Pair]:
    """Every pair of distinct positions, those whose rank changed most first.

    Ranks, not similarities, decide the order: every model has its own scale of similarity, and one that pushes all
    texts apart would otherwise seem to disagree about every pair.

    Args:
        left: [N, N] similarities by the first model.
        right: [N, N] similarities by the second model.
    """
    positions = list(combinations(range(len(left)), 2))
    left_ranks, right_ranks = ([_rank(matrix, at, positions) for at in positions] for matrix in (left, right))
    found = [
        Pair(i, j, float(left[i, j]), float(right[i, j]), left_rank, right_rank)
        for (i, j), left_rank, right_rank in zip(positions, left_ranks, right_ranks, strict=True)
    ]
    return sorted(found, key=lambda p: (-abs(p.right_rank - p.left_rank), -abs(p.right - p.left), p.first, p.second))


def _rank(matrix: np.ndarray, at: tuple[int, int], positions: "Sequence[tuple[int, int]]") -> int:
    return 1 + sum(bool(matrix[other] > matrix[at]) for other in positions)


def pair_table(found: "Sequence[Pair]", texts: "Sequence[str]", left_name: str, right_name: str) -> pd.DataFrame:
    """The pairs as a table for people; the columns of each model carry its name."""
    return pd.DataFrame(
        {
            "Text": [texts[p.first] for p in found],
            "Compared with": [texts[p.second] for p in found],
            left_name: [p.left for p in found],
            right_name: [p.right for p in found],
            f"Rank, {left_name}": [p.left_rank for p in found],
            f"Rank, {right_name}": [p.right_rank for p in found],
        }
    )
