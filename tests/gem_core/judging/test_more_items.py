"""What is measured more of, and what a second look may cost."""

import numpy as np
import pytest

from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.evaluation.significance import PairedItems, weigh
from gem_core.judging.gate_report import GateReport, GateResult
from gem_core.judging.more_items import looked_at_twice, on_more_items, read_at_half
from gem_core.recipe import Evaluation, Gate

RULE = {"against": "base", "test": "non-inferiority", "at_least": -1, "inconclusive": "more-items"}
EVALUATION = Evaluation.model_validate(
    {
        "language": {
            "tasks": ["mmlu", "arc_easy", "blimp"],
            "fewshot": 5,
            "limit": 100,
            "by_task": {"blimp": {"fewshot": 0}, "arc_easy": {"limit": 50}},
        },
        "generation": {"prompts": "texts.txt", "limit": 40, "count": 200},
    }
)


def score(task, *, kind="language", limited=True, **others):
    fields = {"task": task, "kind": kind, "read_out": "", "metric": "acc", "value": 50.0, "items": 100, "settings": "s"}
    return TaskScore(**fields, limited=limited, **others)


CANDIDATE = Scores(
    model="c",
    reference="c",
    tasks=(
        score("mmlu"),
        score("arc_easy"),
        score("blimp", limited=False),
        score("greedy-distinct", kind="generation"),
    ),
)


def report(*open_ones, **others):
    """A report on gates that stay open, as (metric, items, needed)."""
    results = tuple(
        GateResult(
            name="g", metric=metric, against="base", verdict="inconclusive", reason="", more=True, items=items,
            needed_items=needed, inconclusive=others.get("inconclusive", "more-items"),
        )
        for metric, items, needed in open_ones
    )  # fmt: skip
    return GateReport(verdict="inconclusive", results=results, candidate="c", baseline="b", champion=None)


def limits(evaluation):
    language = evaluation.language
    own = {task: asked.limit for task, asked in language.by_task.items() if "limit" in asked.model_fields_set}
    return {task: own.get(task, language.limit) for task in language.tasks}


def test_limits_rise_by_what_is_needed_and_only_of_the_tasks_at_hand():
    more = on_more_items(EVALUATION, report(("language.mmlu", 100, 400)), CANDIDATE)
    assert limits(more) == {"mmlu": 500, "arc_easy": 50, "blimp": 100}  # four times, and a quarter for safety
    assert more.generation == EVALUATION.generation
    assert more.language.by_task["blimp"].fewshot == 0
    again = Evaluation.model_validate_json(more.model_dump_json())
    assert limits(again) == limits(more), "a job reads what the flow meant"


def test_an_average_needs_more_of_each_task_that_was_cut_short():
    more = on_more_items(EVALUATION, report(("language", 300, 600)), CANDIDATE)
    assert limits(more) == {"mmlu": 250, "arc_easy": 125, "blimp": 100}


def test_no_distance_at_all_needs_everything():
    more = on_more_items(EVALUATION, report(("language.arc_easy", 100, None)), CANDIDATE)
    assert limits(more) == {"mmlu": 100, "arc_easy": None, "blimp": 100}
    assert Evaluation.model_validate_json(more.model_dump_json()) == more


@pytest.mark.parametrize(("needed", "limit"), [(60, 75), (200, None)])
def test_prompts_are_more_up_to_all(needed, limit):
    more = on_more_items(EVALUATION, report(("generation.greedy-distinct", 40, needed)), CANDIDATE)
    assert more.generation.limit == limit
    assert more.language == EVALUATION.language


def test_nothing_more_is_measured_where_it_decides_nothing():
    asked = ("language.mmlu", 100, 400)
    assert on_more_items(EVALUATION, report(asked).model_copy(update={"verdict": "fail"}), CANDIDATE) is None
    assert on_more_items(EVALUATION, report(asked, inconclusive="human"), CANDIDATE) is None
    assert on_more_items(EVALUATION, report(("language.mmlu", None, None)), CANDIDATE) is None, "no test was made"
    whole = report(asked).results[0].model_copy(update={"more": False})
    exhausted = report(asked).model_copy(update={"results": (whole,)})
    assert on_more_items(EVALUATION, exhausted, CANDIDATE) is None
    assert exhausted.exhausted
    assert not report(asked).exhausted
    assert not report().exhausted


def test_gates_that_may_be_looked_at_twice_are_read_at_half_their_level():
    gates = [
        Gate(name="twice", metric="language.mmlu", **RULE),
        Gate(name="whole", metric="language.blimp", **RULE),
        Gate(name="human", metric="language.mmlu", **{**RULE, "inconclusive": "human"}),
        Gate(name="plain", metric="language.mmlu", against="base", at_least=0, inconclusive="more-items"),
        Gate(name="budget", metric="memory.weights_mb", against="threshold", at_most=1, inconclusive="more-items"),
    ]
    assert looked_at_twice(gates, CANDIDATE) == {"twice"}
    assert [gate.level for gate in read_at_half(gates, {"twice"})] == [0.025, 0.05, 0.05, 0.05, 0.05]


def test_two_looks_promote_equal_models_as_often_as_the_level_says():
    rng = np.random.default_rng(12)
    promoted = 0
    for _ in range(2000):
        drawn = rng.random(800)
        answers = 100.0 * (drawn < 0.15) - 100.0 * (drawn > 0.85)
        looks = (
            weigh([PairedItems(1.0, answers[:count])], float(answers[:count].mean()), 0.0, 0.025)
            for count in (200, 800)
        )
        promoted += any(look.better <= look.level for look in looks)
    assert 0.03 <= promoted / 2000 <= 0.05 + 0.01
