"""Our likelihoods against those of lm-eval's own ``hf`` model, which computes every sequence by itself."""

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import BloomConfig, BloomForCausalLM, MistralConfig, MistralForCausalLM

from gem_core.evaluation.harness import Harness
from gem_core.evaluation.likelihoods import Likelihoods, _tree
from gem_core.evaluation.shared_prefixes import Row
from gem_core.method.network import load_network, load_tokenizer

EXAMPLES = "The fox sings. An owl sleeps. " * 8
PAIRS = [
    *((f"{EXAMPLES}Question {number}: what?", f" {answer}") for number in range(10) for answer in "ABCD"),
    *(("The quick owl", f" {answer}") for answer in ("runs away", "runs", "sings", "sings well")),
    *(("", sentence) for sentence in ("The fox sings.", "The fox sing.", "A")),
    ("A context that ends in spaces   ", "and goes on"),
    (EXAMPLES * 8, " too long for the context"),
]


def instances(pairs):
    return [Instance("loglikelihood", {}, pair, 0, ("task", 0, 1)) for pair in pairs]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_likelihoods_are_those_of_the_harness(bases, family):
    folder = bases(family).folder
    network = load_network(folder, dtype=torch.float32, attention="sdpa").eval()
    tokenizer = load_tokenizer(folder)
    ours = Harness(network, tokenizer, 4)
    assert ours._likelihoods.shares
    plain = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=4)
    expected = plain.loglikelihood(instances(PAIRS), disable_tqdm=True)
    found = ours.loglikelihood(instances(PAIRS))
    np.testing.assert_allclose([one for one, _ in found], [one for one, _ in expected], atol=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    text = [Instance("loglikelihood_rolling", {}, (EXAMPLES,), 0, ("task", 0, 1))]
    rolled, whole = ours.loglikelihood_rolling(text), plain.loglikelihood_rolling(text, disable_tqdm=True)
    np.testing.assert_allclose(rolled, whole, rtol=1e-5)


def test_shared_beginnings_are_computed_once(bases):
    folder = bases("llama").folder
    harness = Harness(load_network(folder, dtype=torch.float32, attention="sdpa").eval(), load_tokenizer(folder), 4)
    computed = []
    decoder = harness.model.get_decoder()
    handle = decoder.register_forward_pre_hook(
        lambda _, __, options: computed.append(options["input_ids"].numel()), with_kwargs=True
    )
    harness.loglikelihood(instances(PAIRS[:40]))
    handle.remove()
    alone = sum(len(harness.tok_encode(context)) for context, _ in PAIRS[:40])
    assert sum(computed) < alone / 8


def network_of(config, model):
    torch.manual_seed(0)
    shape = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    more = {"intermediate_size": 32, "num_key_value_heads": 2} if config is MistralConfig else {}
    return model(config(**shape | more)).eval()


@pytest.mark.parametrize(
    ("config", "model"), [(BloomConfig, BloomForCausalLM), (MistralConfig, MistralForCausalLM)], ids=["alibi", "window"]
)
def test_a_network_that_cannot_share_is_noticed_and_right_all_the_same(config, model):
    likelihoods = Likelihoods(network_of(config, model), 2)
    assert not likelihoods.shares
    tokens = [5, 6, 7, 8, 9]
    with torch.no_grad():
        logs = likelihoods.network(torch.tensor([tokens])).logits.log_softmax(-1)[0]
    expected = float(logs[2, 8] + logs[3, 9])
    ((likely, _), _) = likelihoods.score([(tokens, 2), (tokens[:-1], 1)])
    assert likely == pytest.approx(expected, abs=1e-4)


def test_the_mask_is_the_one_that_is_drawn():
    seen, positions = _tree([Row((1, 2, 3, 4, 5), 2, (2, 1), (0, 1))], np.array([5]), 1, 5)
    drawn = ["##    ", "###   ", "####  ", "##### ", "###  #"]
    assert ["".join("#" if cell else " " for cell in line) for line in seen[0]] == drawn
    assert positions.tolist() == [[1, 2, 3, 4, 3]]
