"""Gates on scores that are averages of measured parts: benchmarks of tasks, tasks of several subsets."""

import numpy as np
import pytest

from gem_core.evaluation.assembly import MEAN
from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.evaluation.statistics import spearman
from gem_core.judging.gates import judge
from gem_core.recipe.gates import Gate

BENCHMARK = "MTEB(eng, v2)"
ITEMS = 60
TASKS = 6
GOLD = np.random.default_rng(0).normal(size=ITEMS)
SHOWN = {"against": "base", "at_least": 0.0, "test": "superiority"}


def pairs(noise, seed):
    """Predictions and golds by item; noisier ones correlate less."""
    predicted = GOLD + noise * np.random.default_rng(seed).normal(size=ITEMS)
    return {str(item): (float(p), float(g)) for item, (p, g) in enumerate(zip(predicted, GOLD, strict=True))}


def rho(items):
    predicted, gold = (np.array(column) for column in zip(*items.values(), strict=True))
    return float(spearman(predicted[None], gold[None])[0])


def model(name, noise, whole, metric, parts, apart=0):
    """Scores of one average and its parts, and the records behind the parts."""
    recorded = {f"part-{number}": pairs(noise, 100 * number + apart) for number in range(parts)}
    shared = {"kind": "embedding", "read_out": "special", "settings": "s"}
    leaves = [
        TaskScore(task=part, metric="cosine_spearman", value=rho(items), items=ITEMS, subtask_of=whole, **shared)
        for part, items in recorded.items()
    ]
    mean = float(np.mean([leaf.value for leaf in leaves]))
    average = TaskScore(task=whole, metric=metric, value=mean, items=parts * ITEMS, **shared)
    return Scores(model=name, reference=name, tasks=(average, *leaves)), {
        (leaf.task, leaf.value): recorded[leaf.task] for leaf in leaves
    }


def result(metric, candidate, base, **rule):
    ours, theirs = candidate, base
    known = ours[1] | theirs[1]
    gate = Gate(name="gate", metric=metric, **{**SHOWN, **rule})
    report = judge(
        ours[0], theirs[0], None, [gate],
        records=lambda score: None, predictions=lambda score: known.get((score.task, score.value)),
    )  # fmt: skip
    return report.results[0]


@pytest.fixture(scope="module")
def benchmarks():
    """Two models on a benchmark of six tasks: the first is better."""
    return model("ours", 0.8, BENCHMARK, MEAN, TASKS, apart=1), model("theirs", 2.5, BENCHMARK, MEAN, TASKS)


@pytest.mark.parametrize("metric", [f"embedding.{BENCHMARK}", "embedding", "embedding.MTEB*"])
def test_a_benchmark_is_tested_by_the_items_of_its_tasks(benchmarks, metric):
    found = result(metric, *benchmarks)
    assert (found.verdict, found.method, found.items) == ("pass", "paired bootstrap", TASKS * ITEMS)
    assert result(metric, *reversed(benchmarks)).verdict == "fail"


def test_a_benchmark_is_one_of_several_names(benchmarks):
    found = result(f"embedding.{BENCHMARK},STS*", *benchmarks)
    assert (found.verdict, "STS* was not measured" in found.reason) == ("inconclusive", True)


@pytest.mark.parametrize("metric", [f"embedding.{BENCHMARK}", "embedding"])
def test_a_benchmark_over_tasks_counts_its_tasks(benchmarks, metric):
    found = result(metric, *benchmarks, over="tasks")
    assert (found.verdict, found.method, found.items) == ("pass", "hierarchical bootstrap", TASKS)


def test_a_correlation_of_several_subsets_is_tested_by_their_pairs():
    ours, theirs = (
        model(name, noise, "STS17", "cosine_spearman", 3, apart=7) for name, noise in (("o", 0.8), ("t", 2.5))
    )
    found = result("embedding.STS17", ours, theirs)
    assert (found.verdict, found.items) == ("pass", 3 * ITEMS)


def test_a_subset_that_only_one_was_measured_on_is_no_comparison(benchmarks):
    ours, (theirs, records) = benchmarks
    fewer = theirs.model_copy(update={"tasks": theirs.tasks[:-1]})
    assert result(f"embedding.{BENCHMARK}", ours, (fewer, records)).verdict == "inconclusive"
