import copy

import pytest
import torch
from torch import nn

from gem_core.method.gradient_cache import backward
from gem_core.method.objectives import contrastive_loss


def gradients(cached, dropout=0.0):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 8))
    scale = nn.Parameter(torch.tensor(2.0))
    parts = list(torch.randn(40, 6).split(7))
    value = backward(
        parts, network, lambda own: contrastive_loss(*own.chunk(2), log_scale=scale), cached=cached
    )  # fmt: skip
    return value, [parameter.grad for parameter in [*network.parameters(), scale]], torch.rand(1)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_cached_gradients_are_those_of_one_pass(dropout):
    whole, expected, drawn = gradients(False, dropout)
    parts, found, later = gradients(True, dropout)
    assert parts == pytest.approx(whole, rel=1e-5)
    assert all(torch.allclose(one, two, rtol=1e-5, atol=1e-6) for one, two in zip(expected, found, strict=True))
    assert torch.equal(drawn, later)


def test_only_one_parts_graph_is_kept_at_a_time():
    network = nn.Linear(4, 4)
    alive, most = [0], [0]

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            alive[0] -= 1
            return gradient

    def embed(part):
        return Counted.apply(network(part)) if torch.is_grad_enabled() else network(part)

    parts = list(torch.randn(12, 4).split(2))
    backward(parts, embed, lambda own: own.square().sum(), cached=True)
    assert most[0] == 1
    assert copy.copy(alive) == [0]
