import math
import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gem_core.evaluation.assembly import MEAN
from gem_core.evaluation.plan import METHOD, PlannedTask
from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.evaluation.statistics import spearman
from gem_core.evaluation.store import Measured, ScoreStore
from gem_core.judging.comparison import compare
from gem_core.judging.recorded_scores import recorded_continuations, recorded_pair

FOUR_SHOTS = {"fewshot": 4, "versions": {"lm-eval": "0.4"}}
FIVE_SHOTS = {"fewshot": 5, "versions": {"lm-eval": "0.4"}}
METRICS = {"STS12": "cosine_spearman", "STS13": "cosine_spearman", "Banking": "accuracy"}


def score(task, value, **changes):
    kind = changes.pop("kind", "embedding" if task in METRICS else "language")
    known = {"read_out": "special" if kind == "embedding" else "", "metric": METRICS.get(task, "acc")}
    return TaskScore(task=task, kind=kind, value=value, **({"items": 10, "settings": "s"} | known | changes))


def scores(model, *tasks, **changes):
    return Scores(model=model, reference=f"the {model}", tasks=tasks, **changes)


def rows(comparison, level="task"):
    return {row.label: row for row in comparison.rows if row.level == level}


def records_of(points):
    """Per-item records: (model's value) -> points of its items."""
    return lambda one: {one.task: points[one.value]} if one.value in points else None


def test_tasks_categories_and_averages_stand_in_order():
    first = scores("base", score("STS12", 10.0), score("STS13", 20.0), score("Banking", 30.0), score("arc", 50.0))
    second = scores("model", score("STS12", 20.0), score("STS13", 40.0), score("Banking", 30.0), score("arc", 49.0))
    found = compare(first, second)
    assert [(row.level, row.label, row.difference) for row in found.rows] == [
        ("average", "embedding, average of 3 tasks", 10.0),
        ("category", "semantic similarity, average of 2 tasks", 15.0),
        ("task", "STS12", 10.0),
        ("task", "STS13", 20.0),
        ("task", "Banking", 0.0),
        ("average", "language, average of 1 task", -1.0),
        ("task", "arc", -1.0),
    ]
    assert "Task by task: 3 no interval, 1 equal" in found.sentence  # without records nobody knows how sure that is


def test_paired_items_decide_the_verdict():
    items = {50.0: dict.fromkeys(map(str, range(42)), 50.0)}
    items[60.0] = {item: 60.0 + int(item) % 3 - 1 for item in items[50.0]}
    items[50.25] = {item: 0.25 + 100.0 * (int(item) % 2) for item in items[50.0]}
    for value, verdict in ((60.0, "better"), (50.25, "unclear")):
        pair = (scores("base", score("arc", 50.0, items=42)), scores("model", score("arc", value, items=42)))
        (row,) = compare(*pair, records=records_of(items)).at("task")
        assert row.verdict == verdict
        assert row.interval[0] <= row.difference <= row.interval[1]
        assert f"{row.difference:+.2f} points (95% interval" in row.reason
    worse = (scores("base", score("arc", 60.0, items=42)), scores("model", score("arc", 50.0, items=42)))
    assert compare(*worse, records=records_of(items)).at("task")[0].verdict == "worse"
    (row,) = compare(pair[0], pair[0], records=records_of(items)).at("task")
    assert row.verdict == "equal"


def test_unequal_settings_are_named_and_never_compared():
    first = scores("base", score("arc", 10.0), score("blimp", 50.0))
    second = scores("model", score("arc", 90.0, settings="t"), score("blimp", 60.0))
    found = compare(first, second, settings={"s": FOUR_SHOTS, "t": FIVE_SHOTS})
    arc = rows(found)["arc"]
    assert (arc.verdict, arc.difference, arc.interval) == ("not comparable", None, None)
    assert (arc.first, arc.second) == (10.0, 90.0)
    assert arc.reason == "measured differently: fewshot 4 and 5"
    assert found.settings["language.arc"] == {"first": FOUR_SHOTS, "second": FIVE_SHOTS}
    assert rows(found, "average")["language, average of 1 task (1 left out)"].difference == 10.0
    assert found.sentence.endswith("1 task cannot be compared")


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ((), "language.arc of the model is missing"),
        ((score("arc", math.nan),), "is not a number"),
        ((score("arc", 1.0, items=9),), "settings differ: arc has 9 items here and 10 there"),
        ((score("arc", 1.0, metric="acc_norm"),), "settings differ"),
    ],
)
def test_what_cannot_be_compared_is_said(second, reason):
    found = compare(scores("base", score("arc", 1.0)), scores("model", *second))
    assert reason in rows(found)["arc"].reason
    assert found.at("average") == ()
    assert "cannot be compared: no task was measured equally of both" in found.sentence


def test_a_group_shows_its_parts():
    def group(model, one, two):
        leaves = (score("law", one, subtask_of="mmlu"), score("art", two, subtask_of="mmlu"))
        return scores(model, score("mmlu", (one + two) / 2), *leaves)

    found = compare(group("base", 10.0, 20.0), group("model", 20.0, 20.0))
    assert [(row.level, row.label) for row in found.rows[1:]] == [("task", "mmlu"), ("part", "law"), ("part", "art")]
    assert [row.difference for row in found.rows] == [5.0, 5.0, 10.0, 0.0]


def test_a_base_is_read_by_the_pooling_that_is_best_on_what_both_have():
    poolings = [("STS12", "mean", 10.0), ("STS12", "last", 40.0), ("STS13", "mean", 99.0), ("STS13", "last", 0.0)]
    base = scores("base", *(score(task, value, read_out=out) for task, out, value in poolings))
    found = compare(base, scores("model", score("STS12", 50.0)))
    assert rows(found)["STS12"].difference == 10.0


def test_a_quick_look_is_marked():
    quick = [scores(name, score("arc", 1.0, limited=True)) for name in ("base", "model")]
    assert all(row.limited for row in compare(*quick).rows)


def test_a_model_is_the_same_as_itself():
    one = scores("base", score("arc", 1.0))
    assert "are the same model" in compare(one, one).sentence


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 100)] * 2), min_size=1, max_size=3))
def test_seen_from_the_other_side_everything_is_reversed(pairs):
    names = ("STS12", "Banking", "arc")
    ours, theirs = ([score(name, pair[side]) for name, pair in zip(names, pairs, strict=False)] for side in (0, 1))
    there = compare(scores("one", *ours), scores("two", *theirs))
    back = compare(scores("two", *theirs), scores("one", *ours))
    assert [-row.difference for row in there.rows] == pytest.approx([row.difference for row in back.rows])
    assert [row.verdict for row in there.rows] == [row.verdict for row in back.rows]  # none is sure without records


def keep(store, model, shots, value, written=None, *, limited=False, **settings):
    planned = PlannedTask("language", "arc", {"kind": "language", "task": "arc", "fewshot": shots, **settings})
    made = score("arc", value, settings=planned.digest, limited=limited)
    store.save(model, planned, "", Measured((made,), None, 1.0))
    if written is not None:
        for path in (store.root / model).glob(f"*{planned.digest[:16]}*"):
            os.utime(path, (written, written))


def test_recorded_scores_are_paired_under_equal_settings_where_there_are_any(tmp_path):
    store = ScoreStore(tmp_path)
    keep(store, "a", 0, 10.0, written=1)
    keep(store, "a", 5, 20.0, written=2)
    keep(store, "b", 0, 30.0, written=1)
    first, second, known = recorded_pair(tmp_path, ("a", "one"), ("b", "two"))
    assert (first.value("language.arc"), second.value("language.arc")) == (10.0, 30.0)
    keep(store, "c", 1, 40.0)
    first, second, known = recorded_pair(tmp_path, ("a", "one"), ("c", "two"))
    assert (first.value("language.arc"), second.value("language.arc")) == (20.0, 40.0)  # each one's latest
    assert compare(first, second, settings=known).rows[0].reason == "measured differently: fewshot 5 and 1"


def test_a_whole_measurement_goes_before_a_later_quick_look(tmp_path):
    store = ScoreStore(tmp_path)
    for model in "ab":
        keep(store, model, 5, 20.0, written=1)
        keep(store, model, 5, 90.0, written=2, limited=True, limit=10)
    for found in recorded_pair(tmp_path, ("a", "one"), ("b", "two"))[:2]:
        assert found.value("language.arc") == 20.0


def test_what_was_measured_in_another_way_than_now_is_no_longer_compared(tmp_path):
    store = ScoreStore(tmp_path)
    for model in "ab":
        keep(store, model, 5, 20.0, method=METHOD - 1)
    assert all(not found.tasks for found in recorded_pair(tmp_path, ("a", "one"), ("b", "two"))[:2])
    keep(store, "a", 5, 30.0, written=1, method=METHOD)
    assert recorded_pair(tmp_path, ("a", "one"), ("b", "two"))[0].value("language.arc") == 30.0


def wrote(store, model, count, written):
    """A greedy continuation of so many prompts."""
    planned = PlannedTask("generation", "greedy", {"kind": "generation", "task": "greedy", "count": count})
    made = score("greedy-distinct", 50.0, kind="generation", metric="distinct", settings=planned.digest)
    rows = [{"item": str(number), "prompt": f"p{number}", "continuation": model} for number in range(count)]
    store.save(model, planned, "", Measured((made,), pa.Table.from_pylist(rows), 1.0))
    for path in (store.root / model).glob(f"*{planned.digest[:16]}*"):
        os.utime(path, (written, written))


def test_continuations_are_those_of_settings_that_most_share(tmp_path):
    store = ScoreStore(tmp_path)
    wrote(store, "a", 3, written=1)
    wrote(store, "a", 9, written=2)
    for other in ("b", "c"):
        wrote(store, other, 3, written=3)
    keep(store, "d", 0, 10.0)

    def found(*beside):
        by_decoding = recorded_continuations(tmp_path, "a", beside)
        tables = {model: store.continuations(entry.scores[0]) for model, entry in by_decoding["greedy"].items()}
        return {model: table["continuation"].to_pylist() for model, table in tables.items()}

    assert found() == {"a": ["a"] * 9}, "the latest"
    assert found("d", "c", "b") == {"a": ["a"] * 3, "c": ["c"] * 3, "b": ["b"] * 3}
    assert recorded_continuations(tmp_path, "d", ("a",)) == {}
    (score,) = recorded_continuations(tmp_path, "b", ())["greedy"]["b"].scores
    (tmp_path / score.records).write_bytes(b"")
    assert store.continuations(score) is None


def test_a_damaged_record_is_left_out_and_said(tmp_path, caplog):
    store = ScoreStore(tmp_path)
    keep(store, "a", 0, 10.0)
    keep(store, "b", 0, 10.0)
    next((tmp_path / "b").glob("*.json")).write_text("{")
    _, second, _ = recorded_pair(tmp_path, ("a", "one"), ("b", "two"))
    assert second.tasks == ()
    assert "cannot be read and is left out" in caplog.text


def test_an_average_without_items_speaks_of_other_tasks_like_these():
    names = ("STS12", "STS13", "Banking", "more", "most", "last")
    kind = {"kind": "embedding", "read_out": "special", "metric": "v_measure"}
    first = scores("base", *(score(name, 10.0, **kind) for name in names))
    second = scores("model", *(score(name, 20.0 + place, **kind) for place, name in enumerate(names)))
    average = compare(first, second).at("average")[0]
    assert (average.over, average.verdict) == ("tasks", "better")
    assert "over other tasks like these" in average.reason
    few = compare(_first_of(first, 3), _first_of(second, 3)).at("average")[0]
    assert (few.interval, few.verdict) == (None, "no interval")  # three tasks say nothing of others


def _first_of(measured, count):
    return measured.model_copy(update={"tasks": measured.tasks[:count]})


def test_correlations_are_compared_by_their_pairs():
    gold = np.arange(60.0)
    noise = np.random.default_rng(0).normal(0, 60, 60)
    points = {0: gold + noise, 1: gold + noise / 10}
    values = [float(spearman(one[None], gold[None])[0]) for one in points.values()]
    known = {
        value: {str(item): (float(one[item]), item) for item in range(60)}
        for value, one in zip(values, points.values(), strict=True)
    }
    pair = [scores(str(place), score("STS12", value, items=60)) for place, value in enumerate(values)]
    (row,) = compare(*pair, predictions=lambda one: known[one.value]).at("task")
    assert row.verdict == "better"
    assert 0 < row.interval[0] < row.difference < row.interval[1]


def test_a_benchmark_is_compared_by_its_tasks():
    def measured(model, value):
        parts = [score(name, value, subtask_of="MTEB(x)") for name in ("STS12", "STS13")]
        whole = score("MTEB(x)", value, kind="embedding", read_out="special", metric=MEAN)
        return scores(model, whole, *parts, score("STS12", value + 1.0))

    found = compare(measured("base", 10.0), measured("model", 20.0))
    assert [(row.label, row.first) for row in found.at("task")] == [("STS12", 11.0), ("STS13", 10.0)]
    assert found.at("average")[0].label == "embedding, average of 2 tasks"
