"""Known answers, and what the tests do over thousands of simulated pairs of models."""

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr, ttest_rel

from gem_core.evaluation.significance import (
    PairedItems,
    holm,
    mcnemar,
    paired_means,
    weigh,
    weigh_over_tasks,
)
from gem_core.evaluation.statistics import pearson, spearman

LEVEL = 0.05
NULLS = 2000


def answers(rng, shape, *, won, lost):
    """Differences in points of questions that a candidate wins and loses with these chances."""
    drawn = rng.random(shape)
    return 100.0 * (drawn < won) - 100.0 * (drawn > 1 - lost)


@pytest.mark.parametrize(("won", "lost"), [(10, 2), (3, 3), (0, 7), (1, 0), (120, 95)])
def test_mcnemar_is_the_binomial_test_less_half_of_what_was_seen(won, lost):
    better, worse = mcnemar(won, lost)
    seen = binomtest(won, won + lost, 0.5, "greater").pvalue + binomtest(won, won + lost, 0.5, "less").pvalue - 1
    assert better == pytest.approx(binomtest(won, won + lost, 0.5, "greater").pvalue - seen / 2)
    assert worse == pytest.approx(binomtest(won, won + lost, 0.5, "less").pvalue - seen / 2)
    assert better + worse == pytest.approx(1.0)


def test_graded_answers_are_students_paired_test():
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(61, 8, size=40), rng.normal(60, 8, size=40)
    evidence = paired_means([ours - theirs], [1.0], 0.0, LEVEL)
    known = ttest_rel(ours, theirs, alternative="greater")
    assert evidence.better == pytest.approx(known.pvalue)
    assert evidence.low == pytest.approx(known.confidence_interval(0.95).low)
    assert paired_means([ours - theirs], [1.0], 0.5, LEVEL).better == pytest.approx(
        ttest_rel(ours - 0.5, theirs, alternative="greater").pvalue
    )


def test_no_disagreement_rules_out_only_what_so_many_questions_can():
    """The rule of three: n questions without one lost rule out a loss of about 3/n, no matter how equal they look."""
    for questions in (5, 50, 500, 5000):
        low = paired_means([np.zeros(questions)], [1.0], 0.0, LEVEL).low
        assert -600 / questions < low < -200 / questions


@pytest.mark.parametrize("value", [0.0, 3.0, 100.0])
def test_two_items_that_moved_alike_are_no_certainty(value):
    assert paired_means([np.full(2, value)], [1.0], 0.0, LEVEL).low < 0.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_suite_says_what_it_can_see():
    rng = np.random.default_rng(2)
    items = [PairedItems(1.0, answers(rng, 400, won=0.1, lost=0.1))]
    evidence = weigh(items, 0.0, -0.3, LEVEL)
    assert evidence.better > LEVEL
    needed = evidence.needed(0.3)
    assert needed > 50_000  # a fifth of the answers changes: 0.3 points drown in it
    large = [PairedItems(1.0, answers(rng, needed, won=0.1, lost=0.1))]
    assert weigh(large, 0.0, -0.3, LEVEL).detectable == pytest.approx(0.3, rel=0.05)
    assert evidence.needed(0.0) is None


@pytest.mark.parametrize("mine", [spearman, pearson])
def test_correlations_are_scipys(mine):
    rng = np.random.default_rng(3)
    predictions, gold = rng.normal(size=(4, 50)).round(1), rng.integers(0, 6, size=(4, 50)).astype(float)
    known = [
        100 * (spearmanr(one, two).statistic if mine is spearman else np.corrcoef(one, two)[0, 1])
        for one, two in zip(predictions, gold, strict=True)
    ]
    assert mine(predictions, gold) == pytest.approx(known)


def correlated(rng, pairs, noise):
    gold = rng.normal(size=pairs)
    return gold, [gold + noise * rng.normal(size=pairs) for noise in noise]


def weigh_correlation(rng, pairs, noise):
    gold, (ours, theirs) = correlated(rng, pairs, noise)
    difference = float(spearman(ours[None], gold[None])[0] - spearman(theirs[None], gold[None])[0])
    return weigh([PairedItems(1.0, statistic=spearman, ours=ours, theirs=theirs, gold=gold)], difference, 0.0, LEVEL)


def test_a_correlation_is_weighed_by_its_pairs():
    evidence = weigh_correlation(np.random.default_rng(4), 400, (0.8, 1.4))
    assert evidence.better < 0.001
    assert 0 < evidence.low < evidence.difference < evidence.high
    assert weigh_correlation(np.random.default_rng(4), 400, (1.4, 0.8)).worse < 0.001
    assert evidence.method == "paired bootstrap"


def test_what_has_no_spread_cannot_be_weighed():
    flat = PairedItems(1.0, statistic=spearman, ours=np.ones(30), theirs=np.arange(30.0), gold=np.arange(30.0))
    assert weigh([flat], 0.0, 0.0, LEVEL) is None
    assert weigh([PairedItems(1.0, np.zeros(1))], 0.0, 0.0, LEVEL) is None
    assert weigh_over_tasks([1.0] * 4, [[]] * 4, 0.0, LEVEL) is None
    with pytest.raises(ValueError, match="no paired items"):
        weigh([], 0.0, 0.0, LEVEL)


# --- simulated models: how often chance promotes, and how often merit does ---


def _mean(items):
    return sum(task.weight * task.differences.mean() for task in items)


def promoted(draw, margin):
    """Of 2,000 pairs of models, the share of candidates that are shown to be above the margin."""
    judged = (weigh(items, _mean(items), margin, LEVEL) for items in (draw() for _ in range(NULLS)))
    return np.mean([evidence.better <= LEVEL for evidence in judged])


@pytest.mark.parametrize("questions", [200, 800])
def test_equal_models_are_promoted_as_often_as_the_level_says(questions):
    rng = np.random.default_rng(5)
    share = promoted(lambda: [PairedItems(1.0, answers(rng, questions, won=0.15, lost=0.15))], 0.0)
    assert 0.03 <= share <= 0.07


def test_equal_models_over_subjects_of_unequal_size():
    rng = np.random.default_rng(6)
    share = promoted(
        lambda: [PairedItems(1 / 3, answers(rng, size, won=0.15, lost=0.15)) for size in (60, 120, 400)], 0.0
    )
    assert 0.03 <= share <= 0.07


@pytest.mark.parametrize(("right", "questions"), [(0.5, 200), (0.78, 200), (0.95, 200), (0.25, 400)])
def test_models_that_just_reach_a_threshold(right, questions):
    rng, judged = np.random.default_rng(14), []
    for _ in range(NULLS):
        own = PairedItems(1.0, 100.0 * (rng.random(questions) < right), alone=True)
        judged.append(weigh([own], own.differences.mean(), 100 * right, LEVEL))
    assert 0.03 <= np.mean([evidence.better <= LEVEL for evidence in judged]) <= 0.07
    assert 0.03 <= np.mean([evidence.worse <= LEVEL for evidence in judged]) <= 0.07
    assert 0.87 <= np.mean([evidence.low <= 100 * right <= evidence.high for evidence in judged]) <= 0.94


def test_models_that_lose_just_what_is_allowed():
    rng = np.random.default_rng(7)
    share = promoted(lambda: [PairedItems(1.0, answers(rng, 800, won=0.04, lost=0.06))], -2.0)
    assert 0.03 <= share <= 0.07


def test_equal_models_with_graded_answers():
    rng = np.random.default_rng(8)
    share = promoted(
        lambda: [PairedItems(0.5, rng.exponential(9, size) - rng.exponential(9, size)) for size in (40, 90)], 0.0
    )
    assert 0.03 <= share <= 0.07


def test_a_better_model_is_promoted_as_often_as_its_suite_is_said_to_show():
    rng = np.random.default_rng(9)
    one = [PairedItems(1.0, np.repeat([100.0, 0.0, -100.0], [100, 800, 100]))]
    gain = weigh(one, _mean(one), 0.0, LEVEL).detectable / 100
    power = promoted(lambda: [PairedItems(1.0, answers(rng, 1000, won=0.1 + gain / 2, lost=0.1 - gain / 2))], 0.0)
    assert 0.75 <= power <= 0.85


def test_over_tasks_the_level_holds_for_other_tasks():
    rng = np.random.default_rng(10)
    wrong = 0
    for _ in range(300):
        means = rng.normal(0.0, 3.0, size=12)  # equal on the whole, each task better or worse by its nature
        evidence = weigh_over_tasks(list(means), [[]] * 12, 0.0, LEVEL)
        wrong += evidence.better <= LEVEL
    assert 0.02 <= wrong / 300 <= 0.09


@pytest.mark.parametrize(("tasks", "apart"), [(12, 0.0), (12, 1.0), (6, 1.5)])
def test_over_tasks_the_chance_of_items_is_counted_once(tasks, apart, monkeypatch):
    """Equal models on the whole; the chance of 40 items alone moves the difference on a task by a point."""
    monkeypatch.setattr("gem_core.evaluation.significance.RESAMPLES", 400)
    rng, wrong = np.random.default_rng(13), 0
    for _ in range(NULLS // 2):
        items = [[PairedItems(1 / tasks, rng.normal(apart * rng.normal(), 6.3, 40))] for _ in range(tasks)]
        evidence = weigh_over_tasks([task[0].differences.mean() for task in items], items, 0.0, LEVEL)
        wrong += evidence.better <= LEVEL
    assert 0.03 <= wrong / (NULLS // 2) <= 0.07


def test_items_within_tasks_are_drawn_too():
    rng = np.random.default_rng(11)
    tasks = [[PairedItems(0.2, answers(rng, 50, won=0.3, lost=0.3))] for _ in range(5)]
    points = [task[0].differences.mean() for task in tasks]
    alone, within = (weigh_over_tasks(points, of, 0.0, LEVEL) for of in ([[]] * 5, tasks))
    assert within.high - within.low > alone.high - alone.low
    assert within.method == "hierarchical bootstrap"
    assert within.items == 5
