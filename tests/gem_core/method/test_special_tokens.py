import pytest
import torch

from gem_core.errors import GemError
from gem_core.method.network import load_network, load_tokenizer
from gem_core.method.special_tokens import add_special_tokens, initialise_rows, special_token_ids, token_names
from gem_core.recipe import SpecialTokens


def test_tokens_are_distinct_single_and_behind_the_vocabulary(bases):
    tokenizer = load_tokenizer(bases("llama").folder)
    known = len(tokenizer)
    ids = add_special_tokens(tokenizer, 3)
    assert ids == (known, known + 1, known + 2)
    assert tokenizer("a fox<|gem_1|>")["input_ids"][-1] == ids[1]
    assert tokenizer.eos_token == "</s>"
    assert special_token_ids(tokenizer, 3) == ids


def test_a_vocabulary_that_holds_them_is_refused(bases):
    tokenizer = load_tokenizer(bases("llama").folder)
    add_special_tokens(tokenizer, 1)
    with pytest.raises(GemError, match=r"already holds <\|gem_0\|>"):
        add_special_tokens(tokenizer, 2)


def test_a_tokenizer_that_lost_one_is_refused(bases):
    with pytest.raises(GemError, match=r"lacks <\|gem_0\|>"):
        special_token_ids(load_tokenizer(bases("llama").folder), 1)


def test_a_tokenizer_that_holds_them_under_other_ids_is_refused(bases):
    tokenizer = load_tokenizer(bases("llama").folder)
    tokenizer.add_tokens(["<|gem_1|>", "another", "<|gem_0|>"])
    with pytest.raises(GemError, match=r"not consecutive \(322, 320\)"):
        special_token_ids(tokenizer, 2)
    tokenizer.add_tokens(["<|gem_2|>", "one more"])
    with pytest.raises(GemError, match=r"not behind all others \(322,\)"):
        special_token_ids(tokenizer, 1)


def rows_of(base, ids, *, seed, **options):
    network = load_network(base.folder, dtype=torch.float32, attention="sdpa")
    initialise_rows(network, ids, SpecialTokens(**options), seed=seed)
    return network


@pytest.mark.parametrize("name", ["llama", "llama-untied", "gpt2", "phi"])
def test_new_rows_are_the_mean_plus_noise(bases, name):
    base = bases(name)
    known = len(load_tokenizer(base.folder))
    ids = tuple(range(known, known + len(token_names(2))))
    network = rows_of(base, ids, noise=0.0, seed=1)
    for layer in (network.get_input_embeddings(), network.get_output_embeddings()):
        for row in ids:
            assert torch.allclose(layer.weight[row], layer.weight[:known].mean(dim=0), atol=1e-6)
    noisy = rows_of(base, ids, noise=0.5, seed=1).get_input_embeddings().weight
    distance = (noisy[list(ids)] - noisy[:known].mean(dim=0)) / noisy[:known].std(dim=0)
    assert 0.3 < float(distance.detach().std()) < 0.7
    assert torch.equal(noisy, rows_of(base, ids, noise=0.5, seed=1).get_input_embeddings().weight)
    assert not torch.equal(noisy, rows_of(base, ids, noise=0.5, seed=2).get_input_embeddings().weight)


def test_rows_that_start_at_zero_look_at_all_of_a_text(bases):
    """The first query of such a token is next to nothing, so that every token of the text weighs the same."""
    base, text = bases("llama"), torch.tensor([[7, 40, 99, 12, 320]])

    def attention(start):
        network = rows_of(base, (320,), start=start, noise=0.0, seed=1)
        network.set_attn_implementation("eager")
        with torch.no_grad():
            return network(text, output_attentions=True).attentions[0][0, :, -1]

    assert torch.allclose(attention("zero"), torch.full((4, 5), 0.2), atol=1e-6)
    assert float(attention("mean").std()) > 0.01


def test_spare_rows_are_used_before_the_matrix_grows(bases):
    network = rows_of(bases("llama"), (310,), noise=0.0, seed=1)
    assert network.get_input_embeddings().weight.shape[0] == 320
    assert torch.allclose(
        network.get_input_embeddings().weight[310], network.get_input_embeddings().weight[:310].mean(0)
    )
