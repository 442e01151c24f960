"""Which rows the batches of a recipe hold, and whether every loss that it weighs has some to be taken of.

A loss without rows is zero: the run would go through and what was asked for would not be in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gem_core.recipe.method import Data, Objective


@dataclass(frozen=True)
class Served:
    """Kinds of rows that can occur in a batch."""

    raw: bool
    special: bool
    views: bool


def served(data: Data, objective: Objective) -> Served:
    """What the planner of batches can draw from these sources."""
    texts = [set(source.use) for source in data.sources if not source.pairs]
    raw = [use for use in texts if "raw" in use and ("special" not in use or objective.raw_share > 0)]
    special = [use for use in texts if "special" in use and ("raw" not in use or objective.raw_share < 1)]
    rows = objective.contrastive.rows
    contrasted = {"all": texts, "special": special, "none": []}[rows]
    pairs = rows != "none" and any(source.pairs for source in data.sources)
    return Served(bool(raw), bool(special), pairs or any("contrastive" in use for use in contrasted))


def check(data: Data, objective: Objective, *, lossless: bool) -> None:
    """Refuse a recipe that weighs a loss without a row.

    Args:
        data: Its sources.
        objective: Its losses.
        lossless: Whether raw rows have nothing to learn.

    Raises:
        ValueError: Which loss, and what to do.
    """
    rows, contrasting = served(data, objective), objective.contrastive.rows != "none"
    if contrasting and not any(source.pairs or "contrastive" in source.use for source in data.sources):
        raise ValueError(
            "no source of data.sources serves the contrastive loss (use); add one, or set "
            "objective.contrastive.rows=none"
        )
    if lossless and not (rows.special or rows.views):
        raise ValueError(
            "adaptation.scope=special learns from rows with special tokens alone, and this recipe has none; lower "
            "objective.raw_share, or let a source serve special rows or views (use)"
        )
    if contrasting and not rows.views:
        raise ValueError(
            "objective.contrastive.rows=special contrasts rows with special tokens, and this recipe has none; lower "
            "objective.raw_share, let a source serve both (use), or set rows=all"
        )
    if objective.keep_language > 0 and not rows.raw:
        raise ValueError(
            "objective.keep_language is taken of raw rows, and this recipe has none; raise objective.raw_share, let a "
            "source serve raw rows (use), or set it to 0"
        )
    if rows.special or (rows.raw and not lossless):
        return
    if not contrasting:
        raise ValueError("no source of data.sources serves next-token rows (use), and nothing is contrasted; add one")
    if objective.contrastive_start > 0:
        raise ValueError(
            f"objective.contrastive_start={objective.contrastive_start} are steps of the next-token loss alone, and no "
            "source of data.sources serves rows for it (use); set it to 0"
        )
