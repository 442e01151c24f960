"""From lm-eval's results to our scores and per-item records. Pure: dictionaries in, scores and rows out."""

from __future__ import annotations

import hashlib
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gem_core.evaluation.scores import TaskScore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gem_core.evaluation.plan import PlannedTask

PREFERRED = ("acc", "acc_norm", "exact_match")
"""Which metric is a task's score where it has several; else its first of which higher is better."""

ALREADY_POINTS = frozenset({"bleu", "chrf"})
"""Metrics that the harness gives from 0 to 100; the others go from 0 to 1."""

RECORDS = pa.schema(
    {
        "task": pa.string(),
        "item": pa.string(),
        "score": pa.float64(),
        "choice": pa.int32(),
        "gold": pa.string(),
        "loglikelihoods": pa.list_(pa.float64()),
    }
)
"""One row a question: what it adds to its task's metric, what was chosen, and how likely each choice was."""


def scores_and_rows(
    results: Mapping[str, Any], planned: PlannedTask, *, is_group: bool
) -> tuple[tuple[TaskScore, ...], list[dict[str, Any]]]:
    """The scores of one evaluated task or group, and its records.

    Args:
        results: What ``lm_eval.evaluate`` returned, samples included.
        planned: What was asked for.
        is_group: Whether the evaluated tasks are leaves of the group (or tag) that was asked for. The group then comes
            first, as the plain average over those of its leaves that have a metric of which higher is better.

    Returns:
        Scores, and rows by the columns of ``RECORDS``.
    """
    scores: list[TaskScore] = []
    rows: list[dict[str, Any]] = []
    for task in results["samples"]:
        higher = {name for name, better in results["higher_is_better"][task].items() if better}
        measured = _metrics(results["results"][task])
        chosen = _choose([name for name, _ in measured if name in higher])
        shared = {
            "task": task,
            "kind": "language",
            "read_out": "",
            "items": results["n-samples"][task]["effective"],
            "limited": results["n-samples"][task]["effective"] < results["n-samples"][task]["original"],
            "settings": planned.digest,
            "questions": _digest({f"{one['doc_id']}-{one['doc_hash']}" for one in results["samples"][task]}),
            "subtask_of": planned.task if is_group else None,
        }
        for (name, filtered), value in measured.items():
            if name == chosen:
                chosen = None  # the first of several filters is the score
                scale = 1.0 if name in ALREADY_POINTS else 100.0
                of_task = list(_rows(task, results["samples"][task], name, filtered))
                error = _standard_error([row["score"] for row in of_task])
                scores.append(TaskScore(metric=name, value=scale * value, stderr=error and scale * error, **shared))
                rows += of_task
            elif results["higher_is_better"][task].get(name) is False:
                scores.append(TaskScore(metric=name, value=value, higher_is_better=False, **shared))
    return (*(_macro_average(scores, planned) if is_group else ()), *scores), rows


def _metrics(result: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Metric and filter to value: the harness writes ``acc,none`` and, beside it, ``acc_stderr,none``."""
    pairs = ((*key.split(",", 1), value) for key, value in result.items() if "," in key)
    return {
        (name, filtered): float(value)
        for name, filtered, value in pairs
        if not name.endswith("_stderr") and isinstance(value, int | float)
    }


def _choose(names: list[str]) -> str | None:
    return next((name for name in PREFERRED if name in names), names[0] if names else None)


def _rows(task: str, samples: list[dict[str, Any]], metric: str, filtered: str) -> Iterator[dict[str, Any]]:
    """The records of one task; none for metrics that are no mean over items (a BLEU's part is no number)."""
    for sample in samples:
        score = sample.get(metric)
        if sample["filter"] != filtered or not isinstance(score, int | float):
            continue
        responses = sample["filtered_resps"]
        likelihoods = [float(response[0]) for response in responses if isinstance(response, tuple | list)]
        yield {
            "task": task,
            # The digest of the question is part of its id: two models pair up only where they were asked the same.
            "item": f"{sample['doc_id']}-{sample['doc_hash'][:12]}",
            "score": float(score),
            "choice": max(range(len(likelihoods)), key=likelihoods.__getitem__) if len(likelihoods) > 1 else None,
            "gold": str(sample["target"]),
            "loglikelihoods": likelihoods or None,
        }


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _standard_error(values: list[float]) -> float | None:
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def _macro_average(leaves: list[TaskScore], planned: PlannedTask) -> tuple[TaskScore, ...]:
    """The group's score: each leaf counts the same, however many questions it has."""
    counted = [leaf for leaf in leaves if leaf.higher_is_better]
    if not counted:
        return ()
    errors = [leaf.stderr for leaf in counted if leaf.stderr is not None]
    metrics = sorted({leaf.metric for leaf in counted})
    return (
        TaskScore(
            task=planned.task,
            kind="language",
            read_out="",
            metric="/".join(metrics),
            value=fmean(leaf.value for leaf in counted),
            stderr=sum(error**2 for error in errors) ** 0.5 / len(counted) if len(errors) == len(counted) else None,
            items=sum(leaf.items for leaf in counted),
            limited=any(leaf.limited for leaf in counted),
            settings=planned.digest,
            questions=_digest({f"{leaf.task} {leaf.questions}" for leaf in counted}),
        ),
    )
