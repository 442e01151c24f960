import pytest
import torch
from torch import nn

from gem_core.method.model import GemModel
from gem_core.method.optimizer import Optimizer
from gem_core.method.schedule import Rates
from gem_core.recipe import Adaptation, SpecialTokens, Training

WAYS = {
    "an adapter": ("llama", Adaptation(rank=4)),
    "lossless": ("qwen2", Adaptation(rank=4, scope="special")),
    "all weights": ("llama-untied", Adaptation(method="full")),
    "all weights, tied": ("gpt2", Adaptation(method="full")),
}


def network_of(bases, family, adaptation):
    model = GemModel.from_base(bases(family), special_tokens=SpecialTokens(count=2), adaptation=adaptation, seed=1)
    return model.network


def trained_of(network, scale):
    return {n: p for n, p in [*network.named_parameters(), ("log_scale", scale)] if p.requires_grad}


def moved(network, scale, rates, **training):
    """The trained weights by name, and which of them a step with random gradients moves."""
    trained = trained_of(network, scale)
    optimizer = Optimizer(network, trained, Training(**training))
    before = {name: weight.detach().clone() for name, weight in trained.items()}
    for weight in trained.values():
        weight.grad = torch.randn_like(weight)
    optimizer.step(rates)
    assert all(weight.grad is None for weight in trained.values())
    return trained, {name for name, weight in trained.items() if not torch.equal(weight, before[name])}


@pytest.mark.parametrize(("family", "adaptation"), WAYS.values(), ids=WAYS)
def test_muon_moves_the_weights_of_linear_layers_and_adamw_all_others(bases, family, adaptation):
    network, scale = network_of(bases, family, adaptation), nn.Parameter(torch.tensor(3.0))
    trained, by_muon = moved(network, scale, Rates(adamw=0.0, muon=0.02), muon=0.02)
    _, by_adamw = moved(network, scale, Rates(adamw=1e-3, muon=0.0), muon=0.02)
    assert by_muon
    assert by_muon | by_adamw == set(trained)
    assert not by_muon & by_adamw
    assert all(trained[name].ndim == 2 for name in by_muon)
    assert not any(part in name for name in by_muon for part in ("embed", "wte", "wpe", "lm_head", "rows", "tokens"))
    output = network.get_output_embeddings().weight
    assert all(trained[name] is not output for name in by_muon)


def test_without_muon_adamw_moves_everything(bases):
    network, scale = network_of(bases, *WAYS["lossless"]), nn.Parameter(torch.tensor(3.0))
    trained, by_adamw = moved(network, scale, Rates(adamw=1e-3))
    assert by_adamw == set(trained)


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("all weights", "model.layers.0.mlp.gate_proj"),
        ("all weights, tied", "transformer.h.0.mlp.c_fc"),
        ("all weights, tied", "transformer.h.0.mlp.c_proj"),
    ],
)
def test_every_direction_of_a_matrix_goes_equally_far(bases, way, name):
    network, scale = network_of(bases, *WAYS[way]), nn.Parameter(torch.tensor(3.0))
    layer = network.get_submodule(name)
    matrix = layer.weight  # not square: random gradients have no direction near zero
    before = matrix.detach().clone()
    torch.manual_seed(0)
    moved(network, scale, Rates(adamw=0.0, muon=0.02), muon=0.02)
    outputs, inputs = matrix.shape if isinstance(layer, nn.Linear) else matrix.shape[::-1]
    longer = max(1.0, outputs / inputs) ** 0.5  # its authors' rule for layers that have more outputs than inputs
    lengths = torch.linalg.svdvals((matrix - before).detach()) / (0.02 * longer)
    assert lengths.min() > 0.4  # Newton-Schulz takes them near 1, and no further
    assert lengths.max() < 1.4


@pytest.mark.parametrize("way", WAYS)
def test_decay_is_the_same_whatever_the_shape_of_a_matrix(bases, way):
    network, scale = network_of(bases, *WAYS[way]), nn.Parameter(torch.tensor(3.0))
    trained = trained_of(network, scale)
    optimizer = Optimizer(network, trained, Training(muon=0.02, weight_decay=0.5))
    with torch.no_grad():
        for weight in trained.values():
            weight.fill_(1.0)
            weight.grad = torch.zeros_like(weight)
    optimizer.step(Rates(adamw=0.0, muon=0.02))
    left = {round(float(weight.detach().max()), 6) for weight in trained.values()}
    assert left == {1.0, 0.99}  # AdamW's at no rate, Muon's by rate times decay


def test_a_state_goes_on_where_it_was(bases):
    ends = []
    for interrupted in (False, True):
        torch.manual_seed(0)
        network, scale = network_of(bases, *WAYS["an adapter"]), nn.Parameter(torch.tensor(3.0))
        trained, settings = trained_of(network, scale), Training(muon=0.02)
        optimizer = Optimizer(network, trained, settings)
        for _ in range(3):
            for weight in trained.values():
                weight.grad = torch.randn_like(weight)
            optimizer.step(Rates(adamw=1e-3, muon=0.02))
            if interrupted:
                state = optimizer.state_dict()
                optimizer = Optimizer(network, trained, settings)
                optimizer.load_state_dict(state)
        ends.append([weight.detach().clone() for weight in trained.values()])
    assert all(map(torch.equal, *ends))
