"""Scores under counts are scikit-learn's on the items themselves, drawn as often."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, v_measure_score

from gem_core.evaluation.counted_statistics import average_precision, best_average_precision, of_records, v_measure
from gem_core.evaluation.significance import PairedItems, weigh
from gem_core.evaluation.statistics import resampled_counts

seeds = st.integers(0, 10_000)


@settings(max_examples=60)
@given(seeds, st.integers(1, 3))
def test_average_precision_is_scikit_learn_s(seed, digits):
    rng = np.random.default_rng(seed)
    scores, gold = rng.normal(size=40).round(digits), (rng.random(40) < 0.4).astype(float)
    gold[0] = 1
    counts = rng.multinomial(40, np.full(40, 1 / 40), size=3).astype(float)
    counts[:, 0] += 1
    value = average_precision(scores, gold)
    for row, found in zip([np.ones(40), *counts], value(np.vstack([np.ones(40), counts])), strict=True):
        drawn = np.repeat(np.arange(40), row.astype(int))
        assert found == pytest.approx(100 * average_precision_score(gold[drawn], scores[drawn]), abs=1e-6)


@settings(max_examples=60)
@given(seeds, st.integers(1, 5), st.integers(1, 5))
def test_the_v_measure_is_scikit_learn_s(seed, of_labels, of_clusters):
    rng = np.random.default_rng(seed)
    labels, clusters = rng.integers(0, of_labels, 30), rng.integers(0, of_clusters, 30)
    counts = rng.multinomial(30, np.full(30, 1 / 30), size=3).astype(float)
    for row, found in zip(counts, v_measure(range(30), clusters, labels, 30)(counts), strict=True):
        drawn = np.repeat(np.arange(30), row.astype(int))
        assert found == pytest.approx(100 * v_measure_score(labels[drawn], clusters[drawn]), abs=1e-6)


def test_the_best_of_several_similarities_counts():
    rng = np.random.default_rng(1)
    gold = (rng.random(50) < 0.5).astype(float)
    scores = np.stack([rng.normal(size=50), gold + rng.normal(size=50), gold + rng.normal(size=50)], axis=1)
    each = [100 * average_precision_score(gold, column) for column in scores.T]
    assert best_average_precision(scores, gold)(np.ones((1, 50)))[0] == pytest.approx(max(each))


def test_repetitions_share_their_texts_and_sets_do_not():
    repetitions = {
        "Level 0/0": ([0, 1, 1], {"texts": [0, 2, 2], "labels": ["a", "b", "b"]}),
        "Level 0/1": ([0, 0, 1], {"texts": [1, 1, 2], "labels": ["a", "b", "b"]}),
    }
    items, value = of_records("v_measure", repetitions)
    assert items == 3
    known = [100.0, 100 * v_measure_score(["a", "b", "b"], [0, 0, 1])]
    assert value(np.ones((1, 3)))[0] == pytest.approx(np.mean(known))
    sets = {"0": ([0, 1], ["a", "b"]), "1": ([0, 0, 1], ["a", "b", "b"])}
    items, value = of_records("v_measure", sets)
    assert items == 5
    assert value(np.ones((1, 5)))[0] == pytest.approx(np.mean(known))
    assert of_records("v_measure", {"0": ([0, 1], None)}) is None
    assert of_records("max_ap", {"0": (0.3, 1)}) is None, "one similarity of five"
    assert of_records("main_score", sets) is None


def test_equal_models_are_promoted_as_often_as_the_level_says():
    """Pairs of equally good rankings; few resamples, many pairs of models."""
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(400):
        gold = (rng.random(150) < 0.5).astype(float)
        ours, theirs = (average_precision(gold + 1.5 * rng.normal(size=150), gold) for _ in range(2))
        drawn = resampled_counts(lambda counts: ours(counts) - theirs(counts), 150, resamples=200, rng=rng)  # noqa: B023
        shares.append(np.mean(drawn < 0))
    assert 0.02 <= np.mean(np.array(shares) < 0.05) <= 0.09


def test_a_better_ranking_is_shown():
    rng = np.random.default_rng(4)
    gold = (rng.random(400) < 0.5).astype(float)
    ours, theirs = (average_precision(gold + noise * rng.normal(size=400), gold) for noise in (0.6, 1.5))
    ones = np.ones((1, 400))
    difference = float(ours(ones)[0] - theirs(ones)[0])
    items = [PairedItems(1.0, items=400, counted=lambda counts: ours(counts) - theirs(counts))]
    evidence = weigh(items, difference, 0.0, 0.05)
    assert evidence.better < 0.001
    assert 0 < evidence.low < difference < evidence.high
    assert (evidence.method, evidence.items) == ("paired bootstrap", 400)


def test_drawing_a_text_twice_does_not_move_what_is_shown():
    """V-measures of resamples are higher; the distribution of a difference lies where the difference is."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 8, 120)
    good, chance = np.where(rng.random(120) < 0.6, labels, rng.integers(0, 8, 120)), rng.integers(0, 8, 120)
    ours, theirs = (v_measure(range(120), clusters, labels, 120) for clusters in (good, chance))
    drawn = resampled_counts(lambda counts: ours(counts) - theirs(counts), 120, resamples=500, rng=rng)
    assert drawn.mean() == pytest.approx((ours(np.ones((1, 120))) - theirs(np.ones((1, 120))))[0])
