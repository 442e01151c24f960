import threading

import pytest
import torch
from tiny_models import gem
from transformers import DynamicCache

from gem_core.method.last_layer import last_tokens, reading_only
from gem_core.method.network import adapter_off, causal_lm, hidden_states


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_what_is_read_of_the_last_layer_is_that_of_the_whole_pass(bases, family, count, merged):
    network = gem(bases(family), count=1).network
    if merged:
        network.merge_adapter()
    ids, lengths = torch.randint(320, (3, 12), generator=torch.Generator().manual_seed(0)), torch.tensor([12, 7, count])
    with torch.inference_mode():
        whole = hidden_states(network, ids)
        with reading_only(last_tokens(lengths, count, 12), causal_lm(network)):
            spared = hidden_states(network, ids)
        assert torch.equal(whole, hidden_states(network, ids))  # nothing stays behind
    for row, length in enumerate(lengths.tolist()):
        assert torch.allclose(spared[row, length - count : length], whole[row, length - count : length], atol=1e-5)
    if family.startswith("llama"):
        assert torch.allclose(spared[:, 0], whole[:, 0]) is not merged  # the rest was indeed not computed


def test_two_threads_read_one_model_at_their_own_places(bases):
    network = gem(bases("llama")).network
    network.merge_adapter()
    model, ids = causal_lm(network), torch.randint(320, (2, 6))
    entered, compared = threading.Event(), threading.Event()

    def other():
        with reading_only(last_tokens(torch.tensor([2, 2]), 1, 6), model):
            entered.set()
            compared.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(10)
    with torch.inference_mode():
        inside = hidden_states(network, ids)
    compared.set()
    thread.join()
    with torch.inference_mode():
        assert torch.equal(inside, hidden_states(network, ids))


def test_an_adapter_that_is_off_spares_as_much_and_leaves_the_cache_whole(bases):
    network = gem(bases("llama")).network
    model, ids = causal_lm(network), torch.randint(320, (2, 6))
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    whole, spared = DynamicCache(), DynamicCache()
    with torch.inference_mode(), adapter_off(network):
        states = model.get_decoder()(ids, past_key_values=whole, use_cache=True).last_hidden_state
        with reading_only(nothing, model):
            unread = model.get_decoder()(ids, past_key_values=spared, use_cache=True).last_hidden_state
    assert not torch.allclose(states, unread)
    for one, other in zip(whole.layers, spared.layers, strict=True):
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.values, other.values)
