import pytest
import torch

from gem_core.errors import GemError
from gem_core.method.model import GemModel
from gem_core.method.network import hidden_states
from gem_core.recipe import Adaptation, SpecialTokens

QUERIES = {"llama": ("q_proj", 32), "gemma": ("q_proj", 32), "phi": ("q_proj", 32), "gpt2": ("c_attn", 32)}


def model(base, *, rank=32, scale=1.0):
    adaptation = Adaptation(scope="special", rank=rank, query_scale=scale)
    return GemModel.from_base(base, special_tokens=SpecialTokens(count=2), adaptation=adaptation, seed=1)


def projected(of, name):
    """What the first query layer makes of a text with special tokens, [L, ...]."""
    seen = []
    layer = next(layer for place, layer in of.network.named_modules() if place.endswith(name))
    layer.register_forward_hook(lambda *args: seen.append(args[2].detach().clone()))
    with torch.no_grad():
        hidden_states(of.network, torch.tensor([[5, 9, 7, *of.special_ids, 11]]))
    return seen[0][0]


@pytest.mark.parametrize("family", QUERIES)
def test_queries_of_special_tokens_alone_are_scaled(bases, family):
    name, size = QUERIES[family]
    plain, scaled = (projected(model(bases(family), scale=scale), name) for scale in (1.0, 0.25))
    specials = torch.tensor([False, False, False, True, True, False])
    assert torch.equal(plain[~specials], scaled[~specials])
    assert torch.equal(plain[specials, size:], scaled[specials, size:])  # keys and values, where they are fused
    assert torch.allclose(scaled[specials, :size], 0.25 * plain[specials, :size], atol=1e-5)


def test_a_low_rank_scales_the_largest_directions(bases):
    """What is left of the queries' matrix is nearer to the scaled one than without, the nearer the higher the rank."""
    wanted = 0.1 * projected(model(bases("llama")), "q_proj")[3]
    distances = [
        float((projected(model(bases("llama"), rank=rank, scale=0.1), "q_proj")[3] - wanted).norm())
        for rank in (4, 16, 32)
    ]
    plain = float((projected(model(bases("llama")), "q_proj")[3] - wanted).norm())
    assert plain > distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-5 * plain + 1e-6


@pytest.mark.parametrize(("family", "reason"), [("qwen3", "normalises"), ("gpt_neox", "other names")])
def test_where_queries_cannot_be_scaled_it_says_so(bases, family, reason):
    with pytest.raises(GemError, match=reason):
        model(bases(family), scale=0.1)
