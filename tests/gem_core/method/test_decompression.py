import pytest
import torch
from tiny_models import gem

from gem_core.errors import GemError
from gem_core.method.attention_mask import for_network, visible
from gem_core.method.decompression import compress, decompress, restore, score
from gem_core.method.model import GemModel
from gem_core.method.network import causal_lm, hidden_states, output_layer
from gem_core.recipe import Adaptation, SpecialTokens

TEXTS = ["The old fox sleeps.", "An owl", "The quick horse waits by the cold river in a field of wheat.", "", "  "]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2", "gemma3"])
@torch.inference_mode()
def test_decoding_from_the_special_tokens_is_the_masked_pass(bases, family, count):
    model = gem(bases(family, begin=True), count=count)
    text = TEXTS[0]
    compressed = compress(model, text)
    assert [layer.keys.shape[2] for layer in compressed.cache.layers] == [count] * 2
    restored = restore(model, compressed)
    row = model.tokenizer(text)["input_ids"]
    assert len(restored) == len(row) - 1  # BOS is not restored
    whole = torch.tensor([[*row, *model.special_ids, *restored]])
    seen = visible(torch.tensor([len(row)]), torch.tensor([whole.shape[1]]), count, whole.shape[1])
    network = causal_lm(model.network)
    states = hidden_states(model.network, whole, for_network(network.config, seen, torch.float32))
    last = len(row) + count - 1
    assert torch.allclose(compressed.state, states[0, last], atol=1e-5)
    logits = output_layer(model.network)(states[0, last:-1])
    logits[:, list(model.special_ids)] = -torch.inf
    assert logits.argmax(dim=-1).tolist() == restored
    decoder, where = network.get_decoder(), torch.tensor([[compressed.position]])
    again = decoder(input_ids=whole[:, last + 1 : last + 2], position_ids=where, past_key_values=compressed.cache)
    assert torch.allclose(again.last_hidden_state[0, 0], states[0, last + 1], atol=1e-5)


def test_a_text_is_restored_twice_alike_and_never_in_special_tokens(bases):
    model = gem(bases("llama"), count=2)
    compressed = compress(model, TEXTS[2])
    assert model.decompress(compressed) == decompress(model, compressed) == model.decompress(TEXTS[2])
    assert not set(restore(model, compressed)) & set(model.special_ids)


@pytest.mark.parametrize(("family", "begin"), [("gpt2", False), ("gpt2", True), ("llama", True)])
def test_of_a_long_text_as_much_is_restored_as_fits_twice(bases, family, begin):
    model = gem(bases(family, begin=begin), count=2)
    compressed = compress(model, "The old fox sleeps. " * 40)
    assert compressed.length == 63 - begin  # of 128 positions, two for special tokens and one for a BOS
    assert len(restore(model, compressed)) == compressed.length


@pytest.mark.parametrize("begin", [False, True])
def test_a_score_is_what_restoring_would_give(bases, begin):
    model = gem(bases("llama", begin=begin))
    for text in TEXTS[:3]:
        row = model.tokenizer(text)["input_ids"][int(begin) :]
        (found,) = score(model, [text, "", "  " * 0, text * 40])  # blank and overlong ones are left out
        assert found.texts == 1
        assert found.shortest <= len(row)
        assert (found.exact == 1.0) is (restore(model, compress(model, text)) == row)
        assert 0 <= found.tokens <= 1
    together = score(model, TEXTS, batch_size=2)
    assert sum(part.texts for part in together) == 4
    assert together == score(model, TEXTS, batch_size=1)


def test_a_model_that_copies_scores_full_marks(bases):
    """Every state predicts one token, so texts of that token alone are restored, and no others."""
    model = gem(bases("llama-untied"))
    token = model.tokenizer("e")["input_ids"]
    with torch.no_grad():
        head = causal_lm(model.network).get_output_embeddings()
        head.weight.zero_()
        torch.nn.init.zeros_(causal_lm(model.network).get_decoder().norm.weight)
        head.bias = torch.nn.Parameter(torch.zeros(head.weight.shape[0]))
        head.bias[token] = 1.0
    (found,) = score(model, ["e"])
    assert (found.exact, found.tokens) == (1.0, 1.0)
    (found,) = score(model, ["x"])
    assert (found.exact, found.tokens) == (0.0, 0.0)
    assert model.decompress("e") == "e"


@torch.inference_mode()
def test_lossless_mode_decompresses_too(bases):
    model = GemModel.from_base(
        bases("llama"), special_tokens=SpecialTokens(count=2), adaptation=Adaptation(rank=4, scope="special"), seed=1
    )
    model.network.eval()
    (found,) = score(model, [TEXTS[0]])
    row = model.tokenizer(TEXTS[0])["input_ids"]
    assert (found.exact == 1.0) is (restore(model, compress(model, TEXTS[0])) == row)


def test_what_cannot_be_decompressed(bases, settings):
    with pytest.raises(GemError, match="nothing to restore"):
        gem(bases("llama")).decompress("")
    with pytest.raises(GemError, match="no text to restore"):
        score(gem(bases("llama")), [""])
    with pytest.raises(GemError, match="no special tokens"):
        GemModel.load(bases("llama").folder, settings=settings).decompress("An owl")
