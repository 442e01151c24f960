import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gem_core.method import objectives
from gem_core.method.objectives import contrastive_loss, divergence, next_token_loss


@pytest.fixture
def case():
    torch.manual_seed(0)
    states = torch.randn(37, 8, requires_grad=True)
    base = torch.randn(37, 8)
    head = torch.nn.Linear(8, 50)
    base_head = torch.nn.Linear(8, 50)
    return states, base, head, base_head, torch.randint(50, (37,))


def test_next_token_loss_in_chunks_is_the_whole_one(case, monkeypatch):
    states, _, head, _, targets = case
    whole = next_token_loss(states, targets, head, 50)
    assert torch.allclose(whole, functional.cross_entropy(head(states), targets, reduction="sum"))
    expected = torch.autograd.grad(whole, [states, head.weight])
    monkeypatch.setattr(objectives, "LOGITS_AT_ONCE", 50 * 5)
    chunked = next_token_loss(states, targets, head, 50)
    assert torch.allclose(chunked, whole)
    for one, two in zip(torch.autograd.grad(chunked, [states, head.weight]), expected, strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_no_more_than_a_chunk_of_logits_is_made_at_once(case, monkeypatch):
    states, base, head, base_head, targets = case
    monkeypatch.setattr(objectives, "LOGITS_AT_ONCE", 50 * 5)
    sizes = []
    head.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    (next_token_loss(states, targets, head, 50) + divergence(states, base, head, base_head, 50)).backward()
    assert max(sizes) == 5


def test_divergence_is_kl_from_the_base(case, monkeypatch):
    states, base, head, base_head, _ = case
    p, q = functional.softmax(base_head(base), -1), functional.softmax(head(states), -1)
    expected = (p * (p.log() - q.log())).sum()
    assert torch.allclose(divergence(states, base, head, base_head, 50), expected, atol=1e-4)
    monkeypatch.setattr(objectives, "LOGITS_AT_ONCE", 50 * 7)
    chunked = divergence(states, base, head, base_head, 50)
    assert torch.allclose(chunked, expected, atol=1e-4)
    chunked.backward()
    assert base_head.weight.grad is None


def test_divergence_of_a_model_from_itself_is_nothing(case):
    states, _, head, _, _ = case
    assert float(divergence(states, states.detach(), head, head, 50)) == pytest.approx(0, abs=1e-5)


@given(st.integers(2, 9), st.floats(0.1, 4.0), st.integers(0, 1000))
def test_contrastive_loss_is_info_nce_and_symmetric(count, log_scale, seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(count, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    scale = torch.tensor(log_scale)
    loss = contrastive_loss(first, second, scale)
    cosines = functional.cosine_similarity(first[:, None], second[None], dim=-1).float() * math.exp(log_scale)
    rows = -cosines.log_softmax(1).diagonal().mean()
    columns = -cosines.log_softmax(0).diagonal().mean()
    assert float(loss) == pytest.approx(float(rows + columns) / 2, abs=1e-4)
    assert float(loss) == pytest.approx(float(contrastive_loss(second, first, scale)), abs=1e-5)
    order = torch.randperm(count, generator=generator)
    assert float(loss) == pytest.approx(float(contrastive_loss(first[order], second[order], scale)), abs=1e-4)


def test_equal_texts_are_not_each_others_negatives():
    first = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    scale = torch.tensor(5.0)
    assert float(contrastive_loss(first, first, scale, same)) < 1e-6
    assert float(contrastive_loss(first, first, scale)) > 0.4


def test_hard_negatives_are_met_by_anchors_alone():
    generator = torch.Generator().manual_seed(0)
    anchors, seconds = torch.randn(3, 8, generator=generator), torch.randn(5, 8, generator=generator)
    scale = torch.tensor(1.0)
    cosines = functional.cosine_similarity(anchors[:, None], seconds[None], dim=-1) * math.e
    forth = -cosines.log_softmax(1).diagonal().mean()
    back = -cosines[:, :3].T.log_softmax(1).diagonal().mean()
    assert float(contrastive_loss(anchors, seconds, scale)) == pytest.approx(float(forth + back) / 2, abs=1e-5)
    same = torch.zeros(3, 5).bool()
    same[0, 4] = True  # not a negative of the first anchor
    cosines[0, 4] = -torch.inf
    forth = -cosines.log_softmax(1).diagonal().mean()
    loss = contrastive_loss(anchors, seconds, scale, same)
    assert float(loss) == pytest.approx(float(forth + back) / 2, abs=1e-5)


def test_matryoshka_is_the_mean_over_its_sizes():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, 8, generator=generator)
    scale = torch.tensor(2.0)
    single = [float(contrastive_loss(first[:, :size], second[:, :size], scale)) for size in (2, 4, 8)]
    together = contrastive_loss(first, second, scale, dimensions=(2, 4))
    assert float(together) == pytest.approx(sum(single) / 3, abs=1e-6)
