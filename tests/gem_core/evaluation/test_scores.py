import math

import pytest

from gem_core.evaluation.scores import Scores, TaskScore


def embedding(task, value, read_out="special", **others):
    return TaskScore(
        task=task, kind="embedding", read_out=read_out, metric="m", value=value, items=10, settings="s", **others
    )


def language(task, value, **others):
    return TaskScore(
        task=task, kind="language", read_out="", metric="acc", value=value, items=10, settings="s", **others
    )


def scores(*tasks, missing=None):
    return Scores(model="digest", reference="a model", tasks=tasks, missing=missing or {})


def test_an_average_counts_each_requested_task_once():
    measured = scores(
        language("mmlu", 40.0),
        language("mmlu_law", 30.0, subtask_of="mmlu"),
        language("mmlu_maths", 50.0, subtask_of="mmlu"),
        language("lambada", 60.0),
    )
    assert measured.value("language") == 50.0
    assert measured.value("language.mmlu") == 40.0
    assert measured.value("language.mmlu_law") == 30.0


def test_a_base_is_taken_at_the_read_out_that_serves_it_best_over_all_tasks():
    measured = scores(
        embedding("A", 30.0, "mean"),
        embedding("A", 31.0, "last"),
        embedding("B", 50.0, "mean"),
        embedding("B", 20.0, "last"),
    )
    assert measured.best_read_out() == "mean"
    assert measured.value("embedding") == 40.0
    assert measured.value("embedding.A") == 30.0, "one encoder is chosen, not the better one of each task"


def test_a_broken_read_out_of_the_base_is_not_passed_over_for_a_weaker_one():
    measured = scores(embedding("A", math.nan, "mean"), embedding("A", 20.0, "last"))
    assert math.isnan(measured.value("embedding"))


def test_a_read_out_that_lacks_a_task_has_no_average():
    measured = scores(embedding("A", 10.0, "mean"), embedding("B", 10.0, "mean"), embedding("A", 90.0, "last"))
    assert measured.best_read_out() == "mean"
    assert measured.value("embedding") == 10.0
    assert scores(embedding("A", 90.0, "last"), embedding("B", 1.0, "mean")).value("embedding") is None


def test_a_missing_part_leaves_no_average_but_the_other_tasks():
    measured = scores(embedding("A", 30.0), missing={"embedding.B": "no such data"})
    assert measured.value("embedding") is None
    assert measured.value("embedding.A") == 30.0
    assert measured.value("embedding.B") is None
    assert measured.why_missing("embedding") == "B: no such data"
    assert measured.why_missing("embedding.B") == "B: no such data"


def test_a_perplexity_is_kept_but_never_averaged():
    measured = scores(language("wiki", 12.0, higher_is_better=False), language("lambada", 60.0))
    assert measured.value("language") == 60.0
    assert measured.value("language.wiki") is None
    assert "lower is better" in measured.why_missing("language.wiki")


@pytest.mark.parametrize("metric", ["embedding", "language", "language.mmlu"])
def test_nothing_measured_has_no_value_and_says_so(metric):
    assert scores().value(metric) is None
    assert scores().best_read_out() is None
    assert "measured" in scores().why_missing(metric)


def test_scores_survive_json_even_when_they_are_no_numbers():
    measured = scores(embedding("A", math.nan), embedding("B", math.inf), language("C", 1.5, stderr=0.25))
    again = Scores.model_validate_json(measured.model_dump_json())
    assert math.isnan(again.tasks[0].value)
    assert again.tasks[1:] == measured.tasks[1:]
