import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from gem_core.evaluation.statistics import paired_bootstrap


def test_it_agrees_with_the_normal_interval_of_a_large_sample():
    differences = np.random.default_rng(1).normal(2.0, 10.0, size=4000)
    low, high = paired_bootstrap([differences], [1.0], confidence=0.9)
    half = norm.ppf(0.95) * differences.std(ddof=1) / np.sqrt(4000)
    assert low == pytest.approx(differences.mean() - half, abs=0.05)
    assert high == pytest.approx(differences.mean() + half, abs=0.05)


def test_subjects_weigh_the_same_whatever_their_size():
    rng = np.random.default_rng(2)
    small, large = rng.normal(10.0, 1.0, size=40), rng.normal(0.0, 1.0, size=4000)
    low, high = paired_bootstrap([small, large], [0.5, 0.5])
    assert low < 5.0 < high
    assert high - low < 1.0


def test_questions_on_which_both_agree_add_no_width():
    assert paired_bootstrap([np.zeros(50), np.full(50, 100.0)], [0.5, 0.5]) == (50.0, 50.0)


def test_the_seed_decides():
    differences = [np.random.default_rng(3).normal(size=30)]
    assert paired_bootstrap(differences, [1.0], seed=1) == paired_bootstrap(differences, [1.0], seed=1)
    assert paired_bootstrap(differences, [1.0], seed=1) != paired_bootstrap(differences, [1.0], seed=2)


def test_a_single_question_has_no_spread_to_speak_of():
    assert paired_bootstrap([np.ones(1), np.ones(5)], [0.5, 0.5]) is None


def test_weights_have_to_fit():
    with pytest.raises(ValueError, match="1 subjects and 2 weights"):
        paired_bootstrap([np.ones(3)], [0.5, 0.5])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([-100.0, 0.0, 100.0]), min_size=2, max_size=12).map(np.array), min_size=1, max_size=4
    )
)
def test_it_lies_within_the_differences_and_turns_with_their_sign(differences):
    weights = [1 / len(differences)] * len(differences)
    low, high = paired_bootstrap(differences, weights, resamples=200)
    assert -100.0 - 1e-9 <= low <= high <= 100.0 + 1e-9
    turned = paired_bootstrap([-subject for subject in differences], weights, resamples=200)
    assert turned == pytest.approx((-high, -low))


@pytest.mark.slow
def test_equal_models_are_told_apart_as_rarely_as_the_level_says():
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(400):
        subjects = [rng.choice([-100.0, 0.0, 100.0], p=[0.15, 0.7, 0.15], size=size) for size in (60, 90, 150)]
        low, high = paired_bootstrap(subjects, [1 / 3] * 3, resamples=400)
        wrong += not low <= 0.0 <= high
    assert 0.02 <= wrong / 400 <= 0.09
