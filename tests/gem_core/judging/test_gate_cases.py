"""Everything that ever promoted a wrong model, in one table: what a gate must not let through, and what it must.

Candidate, base and champion answer one exam of 200 questions (``language``) and two similarity tasks (``embedding``).
Each case bends something; the table says what the verdict has to be and why.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.evaluation.statistics import spearman
from gem_core.judging.gates import judge
from gem_core.recipe.gates import Gate

PAIRS = 150
NO_LOSS = {"name": "language", "metric": "language", "against": "base", "at_least": -5.0, "test": "non-inferiority"}
BETTER = {"name": "better", "metric": "language", "against": "champion", "at_least": 0.0, "test": "superiority"}
GAIN = {"name": "gain", "metric": "embedding", "against": "base", "at_least": 5.0}
SURE_GAIN = {**GAIN, "test": "superiority"}
ESTIMATE = {"name": "estimate", "metric": "language", "against": "base", "at_least": 0.0}
EACH = {"name": "each", "metric": "embedding", "each": True, "against": "base", "at_least": -8.0}


def exam(right, questions=200, start=0):
    return {str(item): 100.0 * (start <= item < start + right) for item in range(questions)}


def pairs(noise, seed=1, count=PAIRS):
    """Predictions and golds that correlate the less the noisier they are; the golds are the same for every model."""
    gold = np.random.default_rng(0).normal(size=count)
    predicted = gold + noise * np.random.default_rng(seed).normal(size=count)
    return {str(item): (float(p), float(g)) for item, (p, g) in enumerate(zip(predicted, gold, strict=True))}


def rho(items):
    predicted, gold = (np.array(column) for column in zip(*items.values(), strict=True))
    return float(spearman(predicted[None], gold[None])[0])


@dataclass
class Model:
    """A measured model: answers and predictions, from which its scores follow unless a case bends those."""

    name: str
    answers: dict[str, float]
    similar: dict[str, dict]
    bent: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Task -> fields of its score that are not what they should be."""
    without: tuple[str, ...] = ()
    more: tuple[TaskScore, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    read_out: str = "special"

    def scores(self):
        tasks = []
        if "exam" not in self.without:
            value = sum(self.answers.values()) / max(len(self.answers), 1)
            tasks.append(self._score("exam", "language", "acc", value, len(self.answers)))
        tasks += [
            self._score(task, "embedding", "cosine_spearman", rho(items), len(items))
            for task, items in self.similar.items()
            if task not in self.without
        ]
        return Scores(model=self.name, reference=self.name, tasks=(*tasks, *self.more), missing=self.missing)

    def _score(self, task, kind, metric, value, items):
        fields = {
            "task": task, "kind": kind, "metric": metric, "value": value, "items": items, "settings": "s",
            "read_out": self.read_out if kind == "embedding" else "", "records": self.name,
        }  # fmt: skip
        return TaskScore(**{**fields, **self.bent.get(task, {})})

    def but(self, **changes):
        return replace(self, **changes)

    def bend(self, task="exam", **fields):
        return replace(self, bent={**self.bent, task: fields})


BASE = Model("base", exam(120), {"STS1": pairs(3.0, 2), "STS2": pairs(2.5, 3)}, read_out="mean")
GOOD = Model("good", exam(124), {"STS1": pairs(0.8, 4), "STS2": pairs(0.7, 5)})
BEST = Model("best", exam(170), {"STS1": pairs(0.4, 6), "STS2": pairs(0.4, 7)})
WORSE = Model("worse", exam(80), {"STS1": pairs(5.0, 8), "STS2": pairs(5.0, 9)})
LEADER = Model("leader", exam(130), {"STS1": pairs(0.9, 10), "STS2": pairs(0.8, 11)})


def report(candidate, *gates, base=BASE, champion=LEADER, records=True, figures=None):
    models = {model.name: model for model in (candidate, base, champion) if model is not None}

    def items(score):
        if not records or score.kind != "language":
            return None
        return {"exam": models[score.records].answers}

    def predictions(score):
        return models[score.records].similar.get(score.task) if records else None

    reigning = None if champion is None else champion.scores()
    rules = [Gate(**gate) for gate in gates]
    return judge(
        candidate.scores(), base.scores(), reigning, rules, records=items, predictions=predictions, figures=figures
    )


nan, inf = math.nan, math.inf
GOOD_SCORE = GOOD._score("exam", "language", "acc", 99.0, 200)
BROKEN_READ_OUT = GOOD._score("STS1", "embedding", "cosine_spearman", nan, PAIRS).model_copy(
    update={"read_out": "last"}
)
SIMILAR = {
    "name": "similar", "metric": "embedding", "against": "threshold", "at_least": 85.0, "test": "superiority",
}  # fmt: skip
BUDGET = {"name": "budget", "metric": "latency.text_ms", "against": "threshold", "at_most": 5.0}
THRESHOLD = {"name": "threshold", "metric": "language", "against": "threshold", "at_least": 78.0}
ALL = (NO_LOSS, SURE_GAIN)

REFUSED = {
    # not a number
    "candidate NaN, by a test": lambda: report(BEST.bend(value=nan), NO_LOSS),
    "candidate NaN, by the estimate": lambda: report(BEST.bend(value=nan), ESTIMATE),
    "candidate infinite": lambda: report(BEST.bend(value=inf), ESTIMATE),
    "candidate minus infinite": lambda: report(BEST.bend(value=-inf), ESTIMATE),
    "base NaN": lambda: report(BEST, ESTIMATE, base=BASE.bend(value=nan)),
    "base minus infinite: any gain would do": lambda: report(BEST, ESTIMATE, base=BASE.bend(value=-inf)),
    "champion NaN": lambda: report(BEST, BETTER, champion=LEADER.bend(value=nan)),
    "champion NaN, by the estimate": lambda: report(
        BEST, {**BETTER, "test": "estimate"}, champion=LEADER.bend(value=nan)
    ),
    "NaN as the first model": lambda: report(BEST.bend(value=nan), BETTER, champion=None),
    "NaN in one of two tasks": lambda: report(BEST.bend("STS2", value=nan), GAIN),
    "NaN in the base's other read-out": lambda: report(BEST, GAIN, base=BASE.but(more=(BROKEN_READ_OUT,))),
    "NaN among the answers": lambda: report(BEST.but(answers={**exam(170), "3": nan}).bend(value=85.0), NO_LOSS),
    "NaN in a figure": lambda: report(BEST, BUDGET, figures={"latency.text_ms": nan}),
    # missing
    "candidate's task missing": lambda: report(BEST.but(without=("exam",)), ESTIMATE),
    "base's task missing": lambda: report(BEST, ESTIMATE, base=BASE.but(without=("exam",))),
    "champion's task missing": lambda: report(BEST, BETTER, champion=LEADER.but(without=("exam",))),
    "one of two tasks missing of the candidate": lambda: report(BEST.but(without=("STS2",)), GAIN),
    "one of two tasks missing of both": lambda: report(
        BEST.but(without=("STS2",), missing={"embedding.STS2": "gone"}),
        GAIN,
        base=BASE.but(without=("STS2",), missing={"embedding.STS2": "gone"}),
    ),
    "a task that could not be measured, each by itself": lambda: report(
        BEST.but(without=("STS2",), missing={"embedding.STS2": "gone"}), EACH
    ),
    "a task that only the base has, each by itself": lambda: report(BEST.but(without=("STS2",)), EACH),
    "a metric that nobody measured": lambda: report(BEST, {**ESTIMATE, "metric": "language.another"}),
    "a wildcard that meets nothing": lambda: report(BEST, {**GAIN, "metric": "embedding.NQ*"}),
    "a list with one unknown name": lambda: report(BEST, {**GAIN, "metric": "embedding.STS1,NQ"}),
    "nothing measured at all, each by itself": lambda: report(
        Model("empty", {}, {}, without=("exam",)),
        {**EACH, "at_least": -100.0},
        base=BASE.but(similar={}),
    ),
    "a figure that was not measured": lambda: report(BEST, {**BUDGET, "metric": "memory.weights_mb"}),
    "no gates": lambda: report(BEST),
    # not comparable
    "other settings": lambda: report(BEST.bend(settings="other"), ESTIMATE),
    "other settings of the champion": lambda: report(BEST, BETTER, champion=LEADER.bend(settings="other")),
    "other questions under the same settings, by the estimate": lambda: report(
        BEST.bend(questions="after"), ESTIMATE, base=BASE.bend(questions="before")
    ),
    "other metric of the same task": lambda: report(BEST.bend(metric="acc_norm"), ESTIMATE),
    "fewer items": lambda: report(BEST.but(answers=exam(95, 100)), ESTIMATE),
    "fewer items, by a test": lambda: report(BEST.but(answers=exam(95, 100)), NO_LOSS),
    "a task more than the base has": lambda: report(
        BEST.but(more=(GOOD_SCORE.model_copy(update={"task": "easy"}),)), ESTIMATE
    ),
    "a leaf more than the base has": lambda: report(
        BEST.but(more=(GOOD_SCORE.model_copy(update={"task": "exam_law", "subtask_of": "exam"}),)), ESTIMATE
    ),
    "a task measured twice, the better first": lambda: report(BEST.but(more=(GOOD_SCORE,)), ESTIMATE),
    "a task measured twice, of the base": lambda: report(
        BEST, ESTIMATE, base=BASE.but(more=(GOOD_SCORE.model_copy(update={"value": 1.0}),))
    ),
    "measured on no items": lambda: report(
        BEST.bend(items=0), {**ESTIMATE, "at_least": -100.0}, base=BASE.bend(items=0)
    ),
    # records that are not those of the score
    "no records": lambda: report(BEST, NO_LOSS, records=False),
    "no predictions": lambda: report(BEST, SURE_GAIN, records=False),
    "duplicated questions, which collapse to fewer": lambda: report(
        BEST.but(answers=exam(95, 100)).bend(items=200, value=95.0), NO_LOSS
    ),
    "records of another model": lambda: report(WORSE.bend(value=85.0), NO_LOSS),
    "records of the base under another model's score": lambda: report(BEST, NO_LOSS, base=BASE.bend(value=10.0)),
    "other questions": lambda: report(BEST.but(answers={f"q{k}": v for k, v in exam(170).items()}), NO_LOSS),
    "other pairs": lambda: report(
        BEST.but(similar={t: {f"p{k}": v for k, v in i.items()} for t, i in BEST.similar.items()}), SURE_GAIN
    ),
    "other golds": lambda: report(
        BEST.but(similar={t: {k: (p, g + 1.0) for k, (p, g) in i.items()} for t, i in BEST.similar.items()}), SURE_GAIN
    ),
    "predictions of another model": lambda: report(BEST.bend("STS1", value=99.0), SURE_GAIN),
    # equal, tied, by chance
    "equal to the champion": lambda: report(LEADER.but(name="twin"), BETTER),
    "equal to the base": lambda: report(BASE.but(name="twin"), SURE_GAIN),
    "equal scores from other answers": lambda: report(LEADER.but(name="twin", answers=exam(130, start=20)), BETTER),
    "better by one question": lambda: report(LEADER.but(name="lucky", answers=exam(131)), BETTER),
    "better by luck: two points of two hundred questions": lambda: report(
        LEADER.but(name="lucky", answers=exam(134, start=30)), BETTER
    ),
    "a tie at the margin, by a test": lambda: report(
        LEADER.but(name="tied", answers=exam(140)), {**BETTER, "at_least": 5.0}
    ),
    "just below the margin, by the estimate": lambda: report(GOOD.but(answers=exam(119)), ESTIMATE),
    "the same answers, but too few to rule out the loss": lambda: report(
        BASE.but(name="twin"), {**NO_LOSS, "at_least": -0.3}
    ),
    "five questions all won": lambda: report(
        BEST.but(answers=exam(5, 5)), {**NO_LOSS, "at_least": -5.0}, base=BASE.but(answers=exam(5, 5))
    ),
    "one question": lambda: report(BEST.but(answers=exam(1, 1)), NO_LOSS, base=BASE.but(answers=exam(0, 1))),
    "two tasks say nothing of other tasks": lambda: report(BEST, {**SURE_GAIN, "over": "tasks"}),
    # worse
    "worse than the base": lambda: report(WORSE, NO_LOSS),
    "worse than the champion": lambda: report(WORSE, BETTER),
    "swapped: the champion's answers for the candidate's": lambda: report(LEADER, BETTER, champion=BEST),
    "swapped: the base as the candidate": lambda: report(
        BASE.but(read_out="special"), *ALL, base=GOOD.but(read_out="mean")
    ),
    "better on average, one task lost": lambda: report(
        BEST.but(similar={"STS1": pairs(0.01, 6), "STS2": {k: (-p, g) for k, (p, g) in pairs(1.0).items()}}), GAIN, EACH
    ),
    "better embeddings, language lost": lambda: report(BEST.but(answers=exam(90)), *ALL),
    "better language, embeddings lost": lambda: report(BEST.but(similar=WORSE.similar), *ALL),
    "passes the base, fails the champion": lambda: report(
        GOOD, *ALL, {**GAIN, "name": "c", "against": "champion", "at_least": 30.0}
    ),
    "below the threshold": lambda: report(BEST, {**THRESHOLD, "at_least": 85.1}),
    "above the threshold by luck": lambda: report(BEST, {**THRESHOLD, "at_least": 84.0, "test": "superiority"}),
    "below a threshold of similarity": lambda: report(GOOD, SIMILAR),
    "above a threshold of similarity by luck": lambda: report(BEST, {**SIMILAR, "at_least": 93.0}),
    "above a threshold, by predictions of another model": lambda: report(WORSE.bend("STS1", value=99.0), SIMILAR),
    "over its budget": lambda: report(BEST, BUDGET, figures={"latency.text_ms": 5.1}),
    "good scores learnt by heart": lambda: report(
        BEST,
        *ALL,
        {"name": "clean", "metric": "contamination.share", "against": "threshold", "at_most": 0.01},
        figures={"contamination.share": 0.02},
    ),
    "only a number of which lower is better": lambda: report(BEST.bend(higher_is_better=False), ESTIMATE),
}

PROMOTED = {
    "better by far, by tests": lambda: report(BEST, *ALL, BETTER),
    "better by far, by estimates": lambda: report(BEST, ESTIMATE, GAIN, EACH),
    "first model": lambda: report(BEST, *ALL, BETTER, champion=None),
    "equal where equal is enough": lambda: report(BASE.but(name="twin"), ESTIMATE),
    "a tie at the margin, by the estimate": lambda: report(GOOD.but(answers=exam(121)), {**ESTIMATE, "at_least": 0.5}),
    "the same answers, and enough of them": lambda: report(BASE.but(name="twin"), NO_LOSS),
    "within its budget": lambda: report(
        BEST,
        {**BUDGET, "metric": "memory.weights_mb"},
        figures={"memory.weights_mb": 5.0},
    ),
    "tasks by wildcard": lambda: report(BEST, {**SURE_GAIN, "metric": "embedding.STS*"}),
    "tasks by list, each by itself": lambda: report(BEST, {**SURE_GAIN, "metric": "embedding.STS1,STS2", "each": True}),
    "above the threshold": lambda: report(BEST, {**THRESHOLD, "test": "superiority"}),
    "above a threshold of similarity, by a test": lambda: report(BEST, SIMILAR),
    "above a threshold of similarity, task by task": lambda: report(BEST, {**SIMILAR, "each": True}),
}


def test_the_table_is_large_enough():
    assert len(REFUSED) >= 60


@pytest.mark.parametrize("case", REFUSED)
def test_never_promoted(case):
    judged = REFUSED[case]()
    assert judged.verdict != "pass"
    assert judged.next_step != "promote"
    assert all(result.reason for result in judged.results)


@pytest.mark.parametrize("case", PROMOTED)
def test_promoted(case):
    judged = PROMOTED[case]()
    assert judged.next_step == "promote", judged.sentence()


# --- what an inconclusive verdict leads to ---


@pytest.mark.parametrize(
    ("asked", "step"),
    [
        (["refuse"], "refuse"),
        (["human"], "human"),
        (["more-items"], "more-items"),
        (["human", "more-items"], "more-items"),
        (["human", "refuse", "more-items"], "refuse"),
    ],
)
def test_the_strictest_of_the_open_gates_decides_what_follows(asked, step):
    gates = [{**NO_LOSS, "name": f"g{n}", "at_least": -0.3, "inconclusive": wish} for n, wish in enumerate(asked)]
    judged = report(BASE.but(name="twin"), *gates)
    assert judged.verdict == "inconclusive"
    assert judged.next_step == step
    assert judged.needed_items > 200


def test_a_failed_gate_refuses_whatever_the_open_ones_ask_for():
    judged = report(WORSE, NO_LOSS, {**BETTER, "inconclusive": "human"})
    assert judged.next_step == "refuse"


def test_a_suite_that_is_too_small_says_how_large_it_would_have_to_be():
    (result,) = report(BASE.but(name="twin"), {**NO_LOSS, "at_least": -0.3}).results
    assert "200 items show a distance of" in result.reason
    assert f"0.30 needs about {result.needed_items:,} items" in result.reason


def test_among_many_tasks_one_failure_by_chance_is_corrected():
    """Each of the tasks alone would fail at 0.05; as the worst of several it may be chance."""
    twin = BASE.but(name="twin", read_out="special", similar={f"STS{n}": pairs(3.0, 20 + n) for n in range(4)})
    base = BASE.but(similar={f"STS{n}": pairs(3.0, 30 + n) for n in range(4)})
    rule = {**SURE_GAIN, "at_least": 0.0, "each": True}
    together = report(twin, rule, base=base).results
    alone = [report(twin, {**rule, "metric": r.metric, "each": False}, base=base).results[0] for r in together]
    assert [r.name for r in together] == [f"gain:STS{n}" for n in range(4)]
    assert sum(r.verdict == "fail" for r in together) <= sum(r.verdict == "fail" for r in alone)
    assert sum(r.verdict == "pass" for r in together) == sum(r.verdict == "pass" for r in alone)


# --- chance ---


def test_of_equal_models_as_many_are_promoted_as_the_level_says():
    """2,000 pairs of models that answer 120 questions equally well, half of them by the same luck."""
    rng = np.random.default_rng(1)
    gate, questions = Gate(**BETTER), 120
    names = [str(item) for item in range(questions)]
    shared = rng.random((2000, questions))
    other = np.where(rng.random(shared.shape) < 0.5, shared, rng.random(shared.shape))
    promoted = 0
    for right in zip(100.0 * (shared > 0.3), 100.0 * (other > 0.3), strict=True):
        records = {side: {"exam": dict(zip(names, of, strict=True))} for side, of in zip("ct", right, strict=True)}
        tasks = (GOOD_SCORE.model_copy(update={"value": of.mean(), "items": questions}) for of in right)
        ours, theirs = (
            Scores.model_construct(model=side, tasks=(task.model_copy(update={"records": side}),), missing={})
            for side, task in zip("ct", tasks, strict=True)
        )
        judged = judge(ours, theirs, theirs, [gate], records=lambda score, of=records: of[score.records])
        promoted += judged.verdict == "pass"
    assert 0.03 <= promoted / 2000 <= 0.07


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({**ESTIMATE, "at_least": None}, "give at_least"),
        ({**ESTIMATE, "at_most": 3.0}, "no at_most"),
        ({**NO_LOSS, "at_least": 0.0}, "below 0"),
        ({**BETTER, "at_least": -1.0}, "test: non-inferiority"),
        ({**ESTIMATE, "level": 0.6}, "less than 0.5"),
        ({**GAIN, "over": "tasks"}, "a test of an average"),
        ({"name": "f", "metric": "latency.text_ms", "against": "threshold", "at_least": 1.0}, "give at_most"),
        ({"name": "f", "metric": "latency.text_ms", "against": "champion", "at_most": 1.0}, "against: threshold"),
        ({"name": "f", "metric": "speed.text_ms", "against": "threshold", "at_most": 1.0}, "pattern"),
        ({**ESTIMATE, "confidence": 1.5}, "confidence"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        Gate(**rule)


def test_the_earlier_spelling_is_a_test_of_half_its_error():
    gate = Gate(**{**ESTIMATE, "confidence": 0.9})
    assert (gate.test, gate.level) == ("superiority", 0.05)
    assert Gate(**{**ESTIMATE, "at_least": -1.0, "confidence": 0.95}).test == "non-inferiority"
