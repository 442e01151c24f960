from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gem_core.method.schedule import contrastive_share, learning_rates
from gem_core.recipe import Contrastive, Objective, Training


@pytest.mark.parametrize(
    ("ramp", "weight", "expected"),
    [(0, 1.0, [0, 0, 1, 1, 1]), (2, 1.0, [0, 0, 0.5, 1, 1]), (0, 0.6, [0, 0, 0.6, 0.6, 0.6])],
)
def test_the_share_of_the_contrastive_loss(ramp, weight, expected):
    objective = Objective(contrastive_start=2, contrastive_ramp=ramp, contrastive_weight=weight)
    assert [contrastive_share(step, objective) for step in range(5)] == pytest.approx(expected)


def test_without_contrastive_rows_it_never_comes_in():
    objective = Objective(contrastive=Contrastive(rows="none"), contrastive_start=0)
    assert contrastive_share(10**6, objective) == 0
    training = Training(steps=10, learning_rate=1e-3, contrastive_learning_rate=1e-9)
    assert learning_rates(5, training, objective).adamw > 1e-5


def test_two_stages_with_a_peak_each():
    training = Training(steps=30, learning_rate=1.0, contrastive_learning_rate=0.1, warmup=0.2, final_rate=0.1)
    rates = [learning_rates(step, training, Objective(contrastive_start=10)).adamw for step in range(30)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[9] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(0.025)
    assert max(rates[10:]) == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.01)
    assert all(one >= two for one, two in pairwise(rates[14:]))


def test_muon_has_one_peak_and_the_same_course():
    training = Training(steps=30, learning_rate=1.0, contrastive_learning_rate=0.1, muon=0.02, warmup=0.2)
    rates = [learning_rates(step, training, Objective(contrastive_start=10)) for step in range(30)]
    assert [rate.muon for rate in rates[:10]] == pytest.approx([0.02 * rate.adamw for rate in rates[:10]])
    assert [rate.muon for rate in rates[10:]] == pytest.approx([0.2 * rate.adamw for rate in rates[10:]])
    assert learning_rates(3, Training(), Objective()).muon == 0


@given(st.integers(1, 60), st.integers(0, 59), st.floats(0, 1), st.floats(0, 1))
def test_every_step_has_a_rate_within_its_peak(steps, start, warmup, final):
    training = Training(
        steps=steps, learning_rate=1e-2, contrastive_learning_rate=1e-3, warmup=warmup, final_rate=final
    )
    for step in range(steps):
        rate = learning_rates(step, training, Objective(contrastive_start=start)).adamw
        assert 0 <= rate <= 1e-2 * (1 + 1e-9)
