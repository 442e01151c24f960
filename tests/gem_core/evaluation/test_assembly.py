"""Benchmarks as averages over tasks that are kept one by one."""

import pytest

from gem_core.evaluation import catalogue
from gem_core.evaluation.assembly import assemble
from gem_core.evaluation.catalogue import BenchmarkTask, EmbeddingNames
from gem_core.evaluation.plan import plan
from gem_core.evaluation.scores import TaskScore
from gem_core.evaluation.store import Entry
from gem_core.recipe import Evaluation

NAMES = EmbeddingNames(
    tasks={"STS12": "STS", "STS17": "STS"},
    benchmarks={
        "MTEB(eng, v2)": (
            BenchmarkTask(task="STS12", subsets=("default",), splits=("test",)),
            BenchmarkTask(task="STS17", subsets=("en-en",), splits=("test",)),
        )
    },
    unreadable=frozenset(),
)


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """STS12 by itself, and a benchmark of two tasks."""
    monkeypatch.setattr(catalogue, "_ask_mteb", lambda: NAMES)
    content = {"embedding": {"tasks": ["STS12"], "benchmarks": ["MTEB(eng, v2)"]}}
    return plan(Evaluation.model_validate(content), tmp_path)


def entry(task, value, *, subsets=()):
    score = TaskScore(
        task=task.task,
        kind="embedding",
        read_out="special",
        metric="cosine_spearman",
        value=value,
        items=10,
        settings=task.digest,
    )
    leaves = tuple(score.model_copy(update={"task": f"{task.task}/{one}", "subtask_of": task.task}) for one in subsets)
    return Entry(model="d", read_out="special", settings=task.settings, scores=(score, *leaves), seconds=1.0)


def test_a_benchmark_s_tasks_keep_the_subsets_it_asks_for(planned):
    alone, first, second = planned
    assert (alone.benchmark, first.benchmark, second.benchmark) == (None, "MTEB(eng, v2)", "MTEB(eng, v2)")
    assert (second.settings["subsets"], second.settings["splits"]) == (["en-en"], ["test"])
    assert alone.settings["languages"] == ["eng"]
    assert len({task.digest for task in planned}) == 3


def test_a_benchmark_is_the_average_of_its_tasks_and_counts_once(planned):
    entries = [entry(planned[0], 30.0), entry(planned[1], 50.0), entry(planned[2], 70.0, subsets=("en-en",))]
    scores = assemble("d", "a model", zip([(task, "special") for task in planned], entries, strict=True), {})
    assert scores.missing == {}
    assert scores.value("embedding.MTEB(eng, v2)") == pytest.approx(60.0)
    assert scores.value("embedding.STS12") == pytest.approx(30.0), "what was asked for by itself goes first"
    assert scores.value("embedding.STS17") == pytest.approx(70.0)
    assert scores.value("embedding") == pytest.approx(45.0)
    assert [part.task for part in scores.parts("embedding.MTEB(eng, v2)")] == ["STS12", "STS17"]
    assert [part.task for part in scores.parts("embedding.STS17")] == ["STS17/en-en"]
    assert scores.seconds == 3.0


def test_a_benchmark_without_one_of_its_tasks_is_missing(planned):
    entries = [entry(planned[0], 30.0), entry(planned[1], 50.0), None]
    known = zip([(task, "special") for task in planned], entries, strict=True)
    scores = assemble("d", "a model", known, {"embedding.STS17": "its data cannot be loaded"})
    assert scores.missing == {"embedding.MTEB(eng, v2)": "of its tasks STS17 could not be measured"}
    assert scores.value("embedding") is None
    assert scores.value("embedding.STS12") == pytest.approx(30.0)
