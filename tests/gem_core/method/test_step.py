import math

import numpy as np
import pytest
import torch
from torch import nn

from gem_core.method import frozen_prefix
from gem_core.method.bag_of_words import word_vectors
from gem_core.method.batches import Planner
from gem_core.method.model import GemModel
from gem_core.method.network import causal_lm, checkpoint_activations
from gem_core.method.schedule import Weights
from gem_core.method.step import StepRunner
from gem_core.recipe import Adaptation, Objective, SpecialTokens, Training
from gem_core.sources.rows import CONTRASTIVE, EVERYTHING, Row, Rows


def rows(folder):
    generator = np.random.default_rng(0)
    texts = [[int(token) for token in generator.integers(2, 300, 4 + number % 9)] for number in range(24)]
    pairs = [Row(texts[number : number + 3], CONTRASTIVE) for number in range(0, 24, 6)]
    return Rows.write(folder, [*pairs, *(Row([text], EVERYTHING) for text in texts)])


BOTH = Weights(next_token=0.3, contrastive=0.7, divergence=0.5)


def gradients(base, folder, *, weights=BOTH, checkpointing=False, at_once=None, seed=0, **choices):
    """Of every trained weight, after one step."""
    objective = Objective(raw_share=0.5, **choices.pop("objective", {}))
    adaptation = Adaptation(rank=4, **choices)
    model = GemModel.from_base(base, special_tokens=SpecialTokens(count=2), adaptation=adaptation, seed=1)
    model.network.train()
    torch.manual_seed(1)
    scale = nn.Parameter(torch.tensor(math.log(20)))
    trained = {name: p for name, p in model.network.named_parameters() if p.requires_grad} | {"scale": scale}
    with torch.no_grad():  # in a fresh adapter half of the gradients are zero
        for parameter in trained.values():
            parameter += 0.02 * torch.randn_like(parameter)
    if checkpointing:
        checkpoint_activations(model.network)
    plan = Planner(rows(folder), objective, model.special_ids, 16, 3, None, None)
    torch.manual_seed(seed)
    vectors = None
    if objective.contrastive.bag_of_words > 0:
        embeddings = causal_lm(model.network).get_input_embeddings().weight
        vectors = word_vectors(embeddings, torch.from_numpy(plan.rows.frequencies(len(embeddings))))
    runner = StepRunner(model, objective, Training(rows_at_once=at_once), scale, None, vectors)
    runner.run(plan.batch(0), weights)
    return {name: parameter.grad for name, parameter in trained.items() if parameter.grad is not None}


def assert_close(one, two):
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        assert torch.allclose(gradient, two[name], rtol=1e-5, atol=1e-5 * float(gradient.abs().max())), name


LOSSLESS = {"scope": "special", "weights": Weights(next_token=0.3, contrastive=0.7)}
MASKED = {"contrastive": {"dropout_kind": "mask"}}
WAYS = {
    "default": {},
    "lossless": LOSSLESS,
    "mask dropout": {"objective": {"contrastive": {"dropout_kind": "mask", "dimensions": [8]}}},
    "bag of words": {
        "objective": {"contrastive": {"bag_of_words": 0.5}},
        "weights": Weights(next_token=0.3, contrastive=0.35, bag_of_words=0.35, divergence=0.5),
    },
    "bag of words alone": {
        "scope": "special",
        "objective": {"contrastive": {"bag_of_words": 1}},
        "weights": Weights(next_token=0.3, bag_of_words=0.7),
    },
}


@pytest.mark.parametrize("choices", WAYS.values(), ids=WAYS)
def test_rows_at_once_change_memory_and_no_gradient(bases, tmp_path, choices):
    whole = gradients(bases("llama"), tmp_path, **choices)
    assert all(float(gradient.abs().max()) > 0 for gradient in whole.values())
    assert ("scale" in whole) == (choices.get("weights", BOTH).contrastive > 0)
    for at_once in (1, 5):
        assert_close(whole, gradients(bases("llama"), tmp_path, at_once=at_once, **choices))


@pytest.mark.parametrize("choices", [{}, LOSSLESS], ids=["default", "lossless"])
def test_checkpointing_changes_no_gradient(bases, tmp_path, choices):
    """In lossless mode every call has special tokens in other places, and layers are run again out of order."""
    assert_close(
        gradients(bases("llama"), tmp_path, **choices),
        gradients(bases("llama"), tmp_path, checkpointing=True, **choices),
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "qwen3"])
@pytest.mark.parametrize("objective", [{}, {"bottleneck": False}, MASKED], ids=str)
@pytest.mark.parametrize("call_tokens", [0, 10**6], ids=["each length apart", "all in one call"])
def test_a_prefix_read_without_a_graph_changes_no_gradient(
    bases, tmp_path, monkeypatch, family, objective, call_tokens
):
    monkeypatch.setitem(frozen_prefix.CALL_TOKENS, "cpu", call_tokens)
    frozen = gradients(bases(family), tmp_path, objective=objective, **LOSSLESS)
    monkeypatch.setattr(frozen_prefix, "applies", lambda network: False)
    assert_close(gradients(bases(family), tmp_path, objective=objective, **LOSSLESS), frozen)


def test_where_a_prefix_is_read_without_a_graph(bases):
    def applies(family, scope, checkpointing=False):
        adaptation = Adaptation(rank=2, scope=scope)
        model = GemModel.from_base(bases(family), special_tokens=SpecialTokens(), adaptation=adaptation, seed=1)
        if checkpointing:
            checkpoint_activations(model.network)
        return frozen_prefix.applies(model.network)

    assert applies("llama", "special")
    assert not applies("llama", "all")
    assert not applies("mistral", "special")  # a window
    assert not applies("llama", "special", checkpointing=True)


@pytest.mark.parametrize(
    "objective",
    [
        {"bottleneck": False},
        {"reconstruction_share": 0.0},
        {"reconstruction_share": 1.0},
        {"cut": (0.5, 0.5)},
        {"contrastive": {"dropout": 0.5}},
        {"contrastive": {"dropout_kind": "mask"}},
        {"contrastive": {"dimensions": (4,)}},
        {"contrastive": {"views": "one"}},
    ],
    ids=str,
)
def test_every_choice_of_the_objective_moves_the_gradient(bases, tmp_path, objective):
    plain = gradients(bases("llama"), tmp_path)
    chosen = gradients(bases("llama"), tmp_path, objective=objective)
    assert max(float((plain[name] - chosen[name]).abs().max() / plain[name].abs().max()) for name in plain) > 0.01
