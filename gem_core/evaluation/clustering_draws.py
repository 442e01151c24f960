"""Which texts mteb's version-2 clusterings drew: it keeps the clusters and not what was clustered.

A task draws from a random state of its own that begins with its seed, so the same draws can be made again. Whether they
are the same is seen from the V-measures: where these do not come out, nothing is said.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.metrics import v_measure_score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mteb.abstasks import AbsTaskClustering

AGREE = 1e-9


class Draw(NamedTuple):
    """What one clustering was made of."""

    texts: list[int]
    """Rows of the subset and split, with repetitions."""
    labels: list[Any]
    """The gold of each."""


def draws(task: AbsTaskClustering, data: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], dict[str, list[Draw]]]:
    """Subset and split to level (``Level 0``) to the draws of its repetitions.

    Args:
        task: As it was measured: its seed, sizes and columns.
        data: The rows of each subset and split, in the order of measuring.
    """
    state = random.Random(task.seed)
    found: dict[tuple[str, str], dict[str, list[Draw]]] = {}
    for part, rows in data.items():
        chosen = list(range(len(rows)))
        most = task.max_document_to_embed
        if task.max_fraction_of_documents_to_embed is not None:
            most = int(task.max_fraction_of_documents_to_embed * len(rows))
        if most is not None:
            chosen = state.sample(range(len(rows)), k=min(len(rows), most))
        column = list(rows[task.label_column_name])
        golds = [one if isinstance(one, list) else [one] for one in (column[row] for row in chosen)]
        depth = max(map(len, golds))
        levels = found.setdefault(part, {})
        for level in range(depth if task.max_depth is None else min(task.max_depth, depth)):
            there = [place for place, gold in enumerate(golds) if len(gold) > level and gold[level] != -1]
            for _ in range(task.n_clusters):
                places = [there[i] for i in state.choices(range(len(there)), k=task.max_documents_per_cluster)]
                draw = Draw([chosen[place] for place in places], [golds[place][level] for place in places])
                levels.setdefault(f"Level {level}", []).append(draw)
    return found


def agrees(draw: Draw, clusters: list[int], measure: float | None) -> bool:
    """Whether a draw is the one that was clustered."""
    if measure is None or len(clusters) != len(draw.labels):
        return False
    return bool(np.isclose(v_measure_score([str(label) for label in draw.labels], clusters), measure, atol=AGREE))
