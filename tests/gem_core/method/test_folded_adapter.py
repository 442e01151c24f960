from unittest import mock

import pytest
import torch
from test_training import Reports, recipe, rows_for, weights_of

from gem_core.method import folded_adapter
from gem_core.method.folded_adapter import FoldedAdapter
from gem_core.method.model import GemModel
from gem_core.method.network import adapter_off, checkpoint_activations, hidden_states
from gem_core.method.training import train
from gem_core.recipe.method import Adaptation, SpecialTokens

MANY = 10**9
"""Tokens for which every adapter of some rank is worth multiplying out."""


def model_of(base, scale=0.05, **adaptation):
    model = GemModel.from_base(
        base, special_tokens=SpecialTokens(), adaptation=Adaptation(rank=8, **adaptation), seed=1
    )
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.network.named_parameters():
        if "lora_B" in name:
            weight.data = scale * torch.randn(weight.shape, generator=generator)
    return model


def calls_of(model):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(1, min(model.special_ids), (n, 7), generator=generator) for n in (1, 3, 2)]


def gradients(model):
    found = {name: weight.grad for name, weight in model.network.named_parameters() if weight.requires_grad}
    model.network.zero_grad(set_to_none=True)
    return found


def backward(model, calls):
    generator = torch.Generator().manual_seed(2)
    for ids in calls:
        states = hidden_states(model.network, ids)
        (states * torch.randn(states.shape, generator=generator)).sum().backward()


def test_gradients_over_several_calls_are_those_of_peft(bases, family):
    model = model_of(bases(family))
    calls = calls_of(model)
    backward(model, calls)
    expected = gradients(model)
    with FoldedAdapter(model.network).folded(MANY):
        backward(model, calls)
    found = gradients(model)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))
    assert sum("lora_A" in name for name in found) > 4


def test_within_the_adapter_acts_and_switched_off_it_does_not(bases, family):
    model = model_of(bases(family))
    ids = calls_of(model)[1]
    with torch.no_grad():
        adapted = hidden_states(model.network, ids)
        with adapter_off(model.network):
            plain = hidden_states(model.network, ids)
        with FoldedAdapter(model.network).folded(MANY):
            torch.testing.assert_close(hidden_states(model.network, ids), adapted, rtol=1e-4, atol=1e-4)
            with adapter_off(model.network):
                assert torch.equal(hidden_states(model.network, ids), plain)
        assert torch.equal(hidden_states(model.network, ids), adapted), "nothing is left behind"
    assert not torch.allclose(adapted, plain, atol=1e-2)


def test_layers_that_are_computed_again_are_computed_alike(bases):
    model = model_of(bases("llama"))
    calls = calls_of(model)
    with FoldedAdapter(model.network).folded(MANY):
        backward(model, calls)
    expected = gradients(model)
    checkpoint_activations(model.network.train())
    with FoldedAdapter(model.network).folded(MANY):
        backward(model, calls)
    for name, gradient in gradients(model).items():
        assert torch.equal(gradient, expected[name]), name


def test_a_failure_leaves_no_layer_changed(bases):
    model = model_of(bases("llama"))
    ids = calls_of(model)[0]
    expected = hidden_states(model.network, ids)
    with pytest.raises(ZeroDivisionError), FoldedAdapter(model.network).folded(MANY):
        raise ZeroDivisionError
    assert torch.equal(hidden_states(model.network, ids), expected)


@pytest.mark.parametrize("adaptation", [{"dropout": 0.1}, {"scope": "special"}])
def test_an_adapter_that_is_no_product_of_matrices_is_left_alone(bases, adaptation):
    network = model_of(bases("llama"), **adaptation).network
    with FoldedAdapter(network).folded(MANY):
        assert not any("forward" in layer.__dict__ for layer in network.modules())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_ends_where_one_at_every_token_ends(bases, tmp_path, precision):
    base = bases("llama")
    rows = rows_for(base, tmp_path / "data")
    chosen = recipe(
        training__precision=precision, objective__keep_language=1.0, adaptation__rank=16, training__rows_at_once=2
    )
    ends = {}
    for name, pays in (("folded", True), ("plain", False)):
        with mock.patch.object(folded_adapter, "folding_pays", return_value=pays):
            found = train(chosen, base, rows, report=Reports(tmp_path / f"{name}-steps"), output=tmp_path / name)
        ends[name] = found.final["loss"], weights_of(tmp_path / name)
    assert ends["folded"][0] == pytest.approx(ends["plain"][0], rel=1e-4 if precision == "float32" else 0.02)
    if precision == "float32":
        for name, weight in ends["plain"][1].items():
            torch.testing.assert_close(ends["folded"][1][name], weight, rtol=1e-3, atol=1e-5)
    assert any(not torch.equal(ends["folded"][1][name], weight) for name, weight in ends["plain"][1].items())
