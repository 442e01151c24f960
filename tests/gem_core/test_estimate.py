import subprocess
import sys

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from gem_core import estimate as estimate_module
from gem_core.errors import GemError
from gem_core.estimate import (
    estimate,
    folded_bytes,
    machine_memory,
    optimizer_bytes,
    projector_bytes,
    tensor_shapes,
    trainable_parameters,
)
from gem_core.method.folded_adapter import FoldedAdapter
from gem_core.method.model import GemModel
from gem_core.method.null_space import NullSpace
from gem_core.method.optimizer import Optimizer
from gem_core.method.schedule import Rates
from gem_core.recipe import Recipe
from gem_core.sources.rows import Rows


def recipe(**sections):
    return Recipe.model_validate(
        {
            "name": "x",
            "base_model": {"source": "owner/base"},
            "data": {"sources": [{"source": "d"}], "max_length": 100},
            "training": {"steps": 200, "batch_size": 10, **sections.pop("training", {})},
            **sections,
        }
    )


@pytest.mark.parametrize("kind", ["llama", "llama-untied", "gpt2", "gpt_neox", "qwen3"])
def test_parameters_agree_with_the_models_own_count(bases, kind):
    base = bases(kind)
    network = AutoModelForCausalLM.from_pretrained(base.folder)
    found = estimate(recipe(), base)
    assert found.parameters == sum(parameter.numel() for parameter in network.parameters())
    width = network.config.hidden_size
    config = peft.LoraConfig(r=16, target_modules="all-linear", fan_in_fan_out=kind == "gpt2")
    adapted = peft.get_peft_model(network, config)
    assert found.trainable == adapted.get_nb_trainable_parameters()[0] + width


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("muon", [None, 0.02])
@pytest.mark.parametrize("kind", ["llama", "llama-untied", "gpt2"])
def test_the_optimizers_remember_what_is_estimated(bases, kind, muon, method):
    chosen = recipe(training={"muon": muon}, adaptation={"method": method, "rank": 4})
    base = bases(kind)
    network = GemModel.from_base(
        base, special_tokens=chosen.special_tokens, adaptation=chosen.adaptation, seed=1
    ).network
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    optimizer = Optimizer(network, trained, chosen.training)
    for parameter in trained.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(Rates(adamw=0.0))
    states = [state for part in optimizer.state_dict().values() for state in part["state"].values()]
    moments = sum(moment.nbytes for state in states for moment in state.values() if moment.ndim > 0)
    untied = 8 * 32 if (kind, method) == ("llama-untied", "full") else 0  # the output's new row, which is left out
    assert optimizer_bytes(chosen, tensor_shapes(base.folder), 32) == moments - untied


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2"])
def test_a_null_space_keeps_what_is_estimated(bases, tmp_path, kind):
    base, chosen = bases(kind), recipe(adaptation={"null_space": 0.01, "rank": 4})
    model = GemModel.from_base(base, special_tokens=chosen.special_tokens, adaptation=chosen.adaptation, seed=1)
    found = NullSpace(model.network, Rows.write(tmp_path, [[5, 6, 7], [8, 9]]), 0.01)
    shapes = tensor_shapes(base.folder)
    assert projector_bytes(chosen, shapes) == sum(projector.nbytes for _, projector in found.confined) > 0
    assert projector_bytes(recipe(), shapes) == 0
    without = recipe(adaptation={"rank": 4})
    more = estimate(chosen, base).memory_bytes - estimate(without, base).memory_bytes
    assert more == projector_bytes(chosen, shapes)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2"])
@pytest.mark.parametrize("rank", [1, 2, 4, 16])
def test_an_adapter_of_high_rank_is_held_multiplied_out(bases, kind, rank):
    base, chosen = bases(kind), recipe(adaptation={"rank": rank})
    network = GemModel.from_base(
        base, special_tokens=chosen.special_tokens, adaptation=chosen.adaptation, seed=1
    ).network
    held = []
    with FoldedAdapter(network).folded(tokens=10**9):
        for layer in network.modules():
            if "forward" in layer.__dict__:
                weight = layer.get_base_layer().weight
                held.append(2 * weight.nbytes)  # the weight and its gradient
    assert folded_bytes(chosen, tensor_shapes(base.folder)) == sum(held)
    assert (sum(held) > 0) == (rank >= 4)


def test_full_training_moves_everything_and_the_new_rows(bases):
    base = bases("llama")
    shapes = tensor_shapes(base.folder)
    full = recipe(adaptation={"method": "full"}, special_tokens={"count": 3})
    assert trainable_parameters(full, shapes, 32) == estimate(full, base).parameters + 3 * 32


def test_steps_tokens_and_epochs(bases):
    found = estimate(recipe(), bases("llama"), rows=1000, mean_length=40.0)
    assert (found.steps, found.tokens, found.epochs) == (200, 200 * 10 * 40, 2.0)
    unknown = estimate(recipe(), bases("llama"))
    assert (unknown.tokens, unknown.epochs) == (200 * 10 * 100, None)
    assert estimate(recipe(), bases("llama"), mean_length=500.0).tokens == unknown.tokens


PLAIN = {"contrastive": {"rows": "none"}}


def test_compute_is_six_n_t_for_plain_full_training(bases):
    full = estimate(recipe(objective=PLAIN, adaptation={"method": "full"}), bases("llama"))
    assert full.flops == 6 * full.parameters * full.tokens
    assert full.hours == full.flops / full.flops_per_second / 3600


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_compute_is_four_n_t_for_lora_and_what_the_adapter_takes(bases, dropout):
    base = bases("llama")
    shapes = tensor_shapes(base.folder)

    def beyond_the_base(rank):
        found = estimate(recipe(objective=PLAIN, adaptation={"rank": rank, "dropout": dropout}), base)
        return found.flops / found.tokens - 4 * found.parameters

    one_rank = 6 * (trainable_parameters(recipe(adaptation={"rank": 1}), shapes, 32) - 32)
    multiplied_out = folded_bytes(recipe(adaptation={"rank": 16}), shapes) / 4  # of two float32: two FLOPs a weight
    assert beyond_the_base(1) == one_rank
    assert beyond_the_base(16) == (multiplied_out if dropout == 0 else 16 * one_rank)


@pytest.mark.parametrize(
    ("section", "more"),
    [
        ("objective", {"contrastive_start": 0}),
        ("objective", {"keep_language": 1.0}),
        ("training", {"gradient_checkpointing": True}),
    ],
)
def test_what_costs_more_counts_more(bases, section, more):
    assert estimate(recipe(**{section: more}), bases("llama")).flops > estimate(recipe(), bases("llama")).flops


def test_a_measured_speed_replaces_the_assumed_and_workers_share_the_time(bases):
    one = estimate(recipe(), bases("llama"), flops_per_second=1e9)
    two = estimate(recipe(resources={"workers": 2}), bases("llama"), flops_per_second=1e9)
    assert one.hours == pytest.approx(2 * two.hours)
    gpu = estimate(recipe(resources={"gpus_per_worker": 1}), bases("llama"))
    assert gpu.flops_per_second == estimate_module.FLOPS_A_GPU


def test_memory_falls_with_what_the_refusal_advises(bases):
    base = bases("llama")
    whole = estimate(recipe(), base).memory_bytes
    assert estimate(recipe(training={"batch_size": 2}), base).memory_bytes < whole
    assert estimate(recipe(training={"gradient_checkpointing": True}), base).memory_bytes < whole
    assert estimate(recipe(adaptation={"method": "full"}), base).memory_bytes < whole + 16 * 40_000
    assert estimate(recipe(training={"precision": "bfloat16"}), base).memory_bytes < whole


def test_what_does_not_fit_is_refused_before_anything_is_spent(bases):
    found = estimate(recipe(resources={"workers": 2}), bases("llama"))
    need = found.memory_bytes
    assert found.refusal(None) is None
    assert found.refusal(2 * need) is None
    assert found.refusal(need, workers_share=False) is None
    refusal = found.refusal(need)
    assert isinstance(refusal, GemError)
    assert "lower training.batch_size" in str(refusal)


def test_this_machine_has_memory():
    assert machine_memory() > 2**28


def test_a_damaged_file_is_named(tmp_path, bases):
    (tmp_path / "model.safetensors").write_bytes(b"not a header")
    with pytest.raises(GemError, match=r"model\.safetensors in .* is damaged"):
        tensor_shapes(tmp_path)


def test_no_torch_to_estimate():
    code = "import sys, gem_core.estimate; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
