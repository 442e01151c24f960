import math
from datetime import UTC, datetime, timedelta

import pytest

from dashboard.tables import (
    average,
    champion_of,
    difference,
    difference_table,
    run_table,
    score_table,
    task_scores,
    version_table,
    written_table,
)
from gem_core.evaluation.scores import TaskScore
from gem_core.evaluation.store import Entry
from gem_core.judging.difference import Difference
from gem_core.records.tracking import RunRecord
from gem_core.records.versions import Version

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SCORES = {"embedding": 60.0, "embedding.A": 50.0, "embedding.B": 70.0, "language": 40.0, "language.C": 40.0}


def version(number: int, scores=SCORES, **more) -> Version:
    known = {"digest": "d", "aliases": (), "run_id": "r", "created": NOW, "source": "s", "lineage": None}
    return Version("m", str(number), **{**known, **more}, scores=scores)


def test_a_difference_is_in_points():
    assert difference({**SCORES, "embedding": 62.5}, SCORES, "embedding") == 2.5


@pytest.mark.parametrize(
    "reference",
    [
        None,
        {},
        {"embedding": 60.0, "embedding.A": 60.0},  # one task fewer
        {"embedding": 60.0, "embedding.A": 50.0, "embedding.Z": 70.0},  # another task
        {**SCORES, "embedding": math.nan},
    ],
)
def test_what_was_not_measured_alike_has_no_difference(reference):
    assert difference(SCORES, reference, "embedding") is None


def test_what_is_no_number_is_left_out():
    scores = {**SCORES, "embedding.B": math.nan, "embedding": math.inf}
    assert task_scores(scores, "embedding") == {"A": 50.0}
    assert average(scores, "embedding") is None


def test_the_champion_is_not_compared_with_itself():
    table = version_table([version(2, {**SCORES, "language": 41.0}), version(1, aliases=("champion",))])
    assert table["language_change_champion"].tolist()[0] == 1.0
    assert table["language_change_champion"].isna().tolist() == [False, True]
    assert champion_of([version(1)]) is None


def test_only_measured_tasks_are_drawn():
    table = score_table({"base": {"language.C": 30.0}, "v1": SCORES}, "embedding")
    assert table.to_numpy().tolist() == [["A", "v1", 50.0], ["B", "v1", 70.0]]
    assert score_table({}, "language").empty


def test_an_unfinished_run_has_taken_the_time_until_now():
    shared = {"params": {}, "metrics": {}, "tags": {}, "artifact_uri": "", "experiment": "m"}
    started = NOW - timedelta(minutes=5)
    running = RunRecord("1" * 32, name="", status="RUNNING", started=started, ended=None, **shared)
    failed = RunRecord("2" * 32, name="b", status="FAILED", started=started, ended=started, **shared)
    table = run_table([running, failed], {"2" * 32: "v3"}, NOW)
    assert table["seconds"].tolist() == [300.0, 0.0]
    assert table["run"].tolist() == ["1" * 8, "b"]
    assert table["made"].tolist() == ["", "v3"]
    assert table["status"].tolist() == [["running"], ["failed"]]


def test_recorded_differences_have_intervals_and_others_are_the_points_of_the_registry():
    row = Difference(
        metric="embedding.A",
        level="task",
        label="A",
        category="retrieval",
        first=50.0,
        second=51.0,
        difference=1.0,
        interval=(0.5, 1.5),
        verdict="better",
        reason="",
    )
    apart = row.model_copy(update={"label": "B", "difference": None, "interval": None, "verdict": "not comparable"})
    table = difference_table(version(2), SCORES, [row, apart, row.model_copy(update={"level": "average"})])
    assert table[["task", "low", "high", "verdict"]].to_numpy().tolist() == [["A", 0.5, 1.5, "better"]]
    plain = difference_table(version(2), {**SCORES, "embedding.B": 69.0}, [apart])
    assert plain["task"].tolist() == ["A", "B", "C"]
    assert plain["difference"].tolist() == [0.0, 1.0, 0.0]
    assert plain["low"].isna().all()


def test_what_was_written_stands_by_prompt_and_model():
    def entry(**values):
        scores = tuple(
            TaskScore(
                task="greedy",
                kind="generation",
                read_out="",
                metric=metric,
                value=value,
                items=2,
                settings="s",
                limited=True,
            )
            for metric, value in values.items()
        )
        return Entry(model="m", read_out="", settings={"max_new_tokens": 8}, scores=scores, seconds=1.0)

    def rows(model):
        read = {"tokens": 4, "likelihood": 0.5, "distinct": 0.75}
        return [{"prompt": prompt, "continuation": f"{model} on {prompt}", **read} for prompt in ("z", "a")]

    models = ("v9", "base")
    entries = {model: entry(likelihood=50.0, distinct=75.0, length=40.0, perplexity=2.5) for model in models}
    written = written_table("greedy", entries, {model: rows(model) for model in models})
    assert (written.decoding, written.allowed, written.limited, written.prompts) == ("greedy", 8, True, ["z", "a"])
    assert written.figures.to_numpy().tolist() == [[model, 50.0, 2.5, 25.0, 40.0] for model in models]
    wide = written.side_by_side()
    assert wide.columns.tolist() == ["prompt", "v9", "base"]
    assert wide.to_numpy().tolist() == [["z", "v9 on z", "base on z"], ["a", "v9 on a", "base on a"]]
    assert written.texts["repetition"].tolist() == [0.25] * 4
