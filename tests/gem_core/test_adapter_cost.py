import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gem_core.adapter_cost import flops_a_token, folding_pays
from gem_core.method.folded_adapter import FoldedAdapter

SIZES = st.integers(1, 500)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 8, 16])
@pytest.mark.parametrize("tokens", [1, 5, 40, 1000])
def test_torch_counts_the_same(rank, tokens):
    inputs, outputs = 24, 16
    network = peft.get_peft_model(nn.Sequential(nn.Linear(inputs, outputs, bias=False)), adapter(rank))
    with FlopCounterMode(display=False) as counter, FoldedAdapter(network).folded(tokens):
        network(torch.ones(tokens, inputs, requires_grad=True)).sum().backward()
    size = inputs * outputs
    once = 6 * rank * size if folding_pays(rank, inputs, outputs, tokens) else 0
    folds = once > 0
    beyond = flops_a_token(rank, inputs, outputs, folds=folds)
    assert counter.get_total_flops() == tokens * (4 * size + beyond) + once


@given(rank=SIZES, inputs=SIZES, outputs=SIZES, tokens=SIZES)
def test_it_pays_where_it_makes_fewer_products(rank, inputs, outputs, tokens):
    size = inputs * outputs
    beside = tokens * 6 * rank * (inputs + outputs)
    folded = tokens * 2 * size + 6 * rank * size
    assert folding_pays(rank, inputs, outputs, tokens) == (folded < beside)


@given(rank=SIZES, inputs=SIZES, outputs=SIZES)
def test_many_tokens_take_the_cheaper_of_the_two(rank, inputs, outputs):
    beside = flops_a_token(rank, inputs, outputs, folds=False)
    assert beside == 6 * rank * (inputs + outputs)
    assert flops_a_token(rank, inputs, outputs) == min(beside, 2 * inputs * outputs)
    assert folding_pays(rank, inputs, outputs) == (2 * inputs * outputs < beside)
    assert not folding_pays(rank, inputs, outputs, tokens=0)


def adapter(rank):
    return peft.LoraConfig(r=rank, target_modules=["0"], lora_alpha=2 * rank)
