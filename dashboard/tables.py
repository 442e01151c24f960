"""What the pages show as tables: versions and runs in, data frames out. Pure functions, no Streamlit."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from dashboard.wording import RUN_STATUS, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gem_core.evaluation.store import Entry
    from gem_core.judging.difference import Difference
    from gem_core.records.promotion_log import Move
    from gem_core.records.tracking import RunRecord
    from gem_core.records.versions import Version

Kind = Literal["embedding", "language"]
KINDS: tuple[Kind, ...] = ("embedding", "language")
CHANGES = (
    "embedding_change_base",
    "embedding_change_champion",
    "language_change_base",
    "language_change_champion",
)
"""The columns of :func:`version_table` that hold a difference."""


def label(version: "Version") -> str:
    """What the pages call a version: ``v3``."""
    return f"v{version.version}"


def champion_of(versions: "Sequence[Version]") -> "Version | None":
    """The reigning version."""
    return holder_of(versions, "champion")


def holder_of(versions: "Sequence[Version]", alias: str) -> "Version | None":
    """The version that an alias points to."""
    return next((version for version in versions if alias in version.aliases), None)


def base_name(version: "Version") -> str:
    """The base model as the recipe names it, with the start of its revision where it has one of its own."""
    if version.lineage is None:
        return "unknown"
    lineage = version.lineage
    own = lineage.base_revision != lineage.base_digest
    return f"{lineage.base_model} @ {lineage.base_revision[:8]}" if own else lineage.base_model


def task_scores(scores: "Mapping[str, float]", kind: Kind) -> dict[str, float]:
    """Task -> points of one kind, without the average and without what is no number."""
    prefix = f"{kind}."
    return {
        metric.removeprefix(prefix): value
        for metric, value in scores.items()
        if metric.startswith(prefix) and math.isfinite(value)
    }


def average(scores: "Mapping[str, float]", kind: Kind) -> float | None:
    """The average over the tasks of a kind, or None where it was not measured."""
    value = scores.get(kind)
    return value if value is not None and math.isfinite(value) else None


def difference(scores: "Mapping[str, float]", reference: "Mapping[str, float] | None", kind: Kind) -> float | None:
    """Points gained over a reference; None unless both were measured on the same tasks."""
    if reference is None or task_scores(scores, kind).keys() != task_scores(reference, kind).keys():
        return None
    value, other = average(scores, kind), average(reference, kind)
    return None if value is None or other is None else value - other


def against_champion(version: "Version", champion: "Version | None", kind: Kind) -> float | None:
    """Points gained over the champion; None for the champion itself."""
    if champion is None or champion.version == version.version:
        return None
    return difference(version.scores, champion.scores, kind)


def version_table(versions: "Sequence[Version]") -> pd.DataFrame:
    """One row a version, in the given order; see :data:`CHANGES` for the columns that hold differences."""
    champion = champion_of(versions)
    table = pd.DataFrame(
        {
            "version": label(version),
            "aliases": list(version.aliases),
            "verdict": [VERDICTS.get(version.verdict, version.verdict)] if version.verdict else [],
            "embedding": average(version.scores, "embedding"),
            "embedding_change_base": difference(version.scores, version.baseline, "embedding"),
            "embedding_change_champion": against_champion(version, champion, "embedding"),
            "language": average(version.scores, "language"),
            "language_change_base": difference(version.scores, version.baseline, "language"),
            "language_change_champion": against_champion(version, champion, "language"),
            "base": base_name(version),
            "registered": version.created,
        }
        for version in versions
    )
    numbers = ["embedding", "language", *CHANGES]
    return table.astype(dict.fromkeys(numbers, "float64")) if len(table) else table


def score_table(models: "Mapping[str, Mapping[str, float]]", kind: Kind) -> pd.DataFrame:
    """Columns ``task``, ``model`` and ``score``: tasks by name, a row for each that was measured."""
    tasks = sorted({task for scores in models.values() for task in task_scores(scores, kind)})
    measured = {model: task_scores(scores, kind) for model, scores in models.items()}
    return pd.DataFrame(
        [(task, model, found[task]) for task in tasks for model, found in measured.items() if task in found],
        columns=["task", "model", "score"],
    )


def difference_table(
    version: "Version", reference: "Mapping[str, float]", rows: "Sequence[Difference]"
) -> pd.DataFrame:
    """One row a task that both were measured on.

    Columns ``kind``, ``task``, ``first``, ``second`` (points), ``difference``, its interval ``low`` to ``high`` (no
    numbers where it is not known) and ``verdict``.

    Args:
        version: whose scores are the second ones.
        reference: metric -> points of the first.
        rows: the same comparison from recorded items, with intervals; without any, the registry's points are taken.
    """
    columns = ["kind", "task", "first", "second", "difference", "low", "high", "verdict"]
    found = [
        (
            row.metric.partition(".")[0],
            row.label,
            row.first,
            row.second,
            row.difference,
            *(row.interval or (None, None)),
            row.verdict,
        )
        for row in rows
        if row.level == "task" and row.comparable
    ]
    if not found:
        for kind in KINDS:
            ours, theirs = task_scores(version.scores, kind), task_scores(reference, kind)
            for task in sorted(ours.keys() & theirs.keys()):
                gap = ours[task] - theirs[task]
                found.append((kind, task, theirs[task], ours[task], gap, None, None, "no interval"))
    return pd.DataFrame(found, columns=columns).astype({"low": "float64", "high": "float64"})


@dataclass(frozen=True)
class Written:
    """What models wrote from the same prompts in one way."""

    decoding: str
    """``greedy`` or ``sampled``."""
    allowed: int
    """Tokens of a continuation at most."""
    limited: bool
    """Whether these are a part of the prompts: a quick look."""
    figures: pd.DataFrame
    """One row a model: ``likelihood``, ``repetition``, ``length`` (points) and ``perplexity``."""
    texts: pd.DataFrame
    """One row a prompt and model: ``prompt``, ``model``, ``continuation``, ``tokens``, ``likelihood`` and
    ``repetition`` (shares)."""

    @property
    def prompts(self) -> list[str]:
        """Each once, as they were drawn."""
        return self.texts["prompt"].drop_duplicates().tolist()

    def side_by_side(self) -> pd.DataFrame:
        """One row a prompt, a column a model: what each wrote."""
        wide = self.texts.pivot_table(
            index="prompt", columns="model", values="continuation", aggfunc="first", sort=False
        )
        return wide[list(self.figures["model"])].reset_index()


def written_table(
    decoding: str, entries: "Mapping[str, Entry]", records: "Mapping[str, Sequence[Mapping[str, Any]]]"
) -> Written:
    """What was recorded of one way to write, by what the page calls a model.

    Args:
        decoding: ``greedy`` or ``sampled``.
        entries: model -> its scores; their settings are equal.
        records: model -> a row a continuation, as :mod:`gem_core.evaluation.continuations` keeps them.
    """
    figures = []
    for model, entry in entries.items():
        value = {score.metric: score.value for score in entry.scores}
        repetition = 100.0 - value["distinct"]
        figures.append((model, value["likelihood"], value["perplexity"], repetition, value["length"]))
    texts = [
        (row["prompt"], model, row["continuation"], row["tokens"], row["likelihood"], 1.0 - row["distinct"])
        for model, rows in records.items()
        for row in rows
    ]
    first = next(iter(entries.values()))
    return Written(
        decoding=decoding,
        allowed=int(first.settings["max_new_tokens"]),
        limited=first.scores[0].limited,
        figures=pd.DataFrame(figures, columns=["model", "likelihood", "perplexity", "repetition", "length"]),
        texts=pd.DataFrame(texts, columns=["prompt", "model", "continuation", "tokens", "likelihood", "repetition"]),
    )


def move_table(moves: "Sequence[Move]") -> pd.DataFrame:
    """One row a move of the log, newest first."""
    return pd.DataFrame(
        [
            (
                move.number,
                move.when,
                [move.action],
                f"v{move.version}" if move.version else "–",
                f"v{move.to_version}" if move.to_version else "–",
                move.who,
                move.reason,
            )
            for move in reversed(moves)
        ],
        columns=["number", "when", "action", "version", "champion", "who", "reason"],
    )


def run_table(runs: "Sequence[RunRecord]", made: "Mapping[str, str]", now: "datetime") -> pd.DataFrame:
    """One row an MLflow run.

    Args:
        runs: in the order they are shown in.
        made: MLflow run id -> the version it made, as the page names it.
        now: how long unfinished runs have taken is counted to here.
    """
    return pd.DataFrame(
        [
            (
                run.started,
                run.name or run.run_id[:8],
                run.experiment,
                [RUN_STATUS.get(run.status, run.status.lower())],
                ((run.ended or now) - run.started).total_seconds(),
                made.get(run.run_id, ""),
                run.run_id,
            )
            for run in runs
        ],
        columns=["started", "run", "model", "status", "seconds", "made", "run_id"],
    )
