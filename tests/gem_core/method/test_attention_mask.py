import inspect
import textwrap

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING, AttentionInterface, AutoModelForCausalLM

from gem_core.errors import GemError
from gem_core.method import attention_mask
from gem_core.method.attention_mask import additive, check_backend, draw, for_network, visible
from gem_core.method.network import hidden_states, load_network


def seen_of(prefix, suffix, count, pads):
    length = prefix + count + suffix
    return visible(torch.tensor([prefix]), torch.tensor([length]), count, length + pads)[0]


def test_the_mask_is_the_drawing_in_the_docstring():
    document = inspect.getdoc(attention_mask)
    drawing = document.split("::\n\n")[1].split("\n\n")[0]
    assert draw(seen_of(3, 2, 2, 1), "abcSTxy.") == textwrap.dedent(drawing)


rows = st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(1, 5), st.integers(0, 4))


@given(rows)
def test_what_each_token_sees(row):
    prefix, suffix, count, pads = row
    seen = seen_of(*row)
    first, after, length = prefix, prefix + count, prefix + count + suffix
    for query in range(length + pads):
        columns = set(torch.nonzero(seen[query]).flatten().tolist())
        if query < first:
            assert columns == set(range(query + 1))
        elif query < after:
            assert columns == set(range(first)) | {query}
        elif query < length:
            assert columns == set(range(first, query + 1))
        else:
            assert columns == {query}


@given(rows, st.booleans(), st.booleans(), st.sets(st.integers(0, 8)))
def test_the_switches_against_their_definition(row, blind, bottleneck, dropped):
    prefix, suffix, count, pads = row
    after, length = prefix + count, prefix + count + suffix
    hidden = torch.zeros(1, length + pads, dtype=torch.bool)
    hidden[0, [place for place in dropped if place < prefix]] = True
    seen = visible(
        torch.tensor([prefix]), torch.tensor([length]), count, length + pads,
        blind=blind, bottleneck=bottleneck, hidden=hidden,
    )[0]  # fmt: skip

    def sees(query, key):
        if query == key:
            return True
        if key > query or query >= length or hidden[0, key]:
            return False
        if prefix <= query < after and key >= prefix:
            return not blind
        return not (bottleneck and query >= after and key < prefix)

    width = length + pads
    assert seen.tolist() == [[sees(query, key) for key in range(width)] for query in range(width)]


@given(st.lists(rows.map(lambda row: row[:2]), min_size=1, max_size=4), st.integers(1, 4))
def test_rows_of_a_batch_do_not_change_each_other(parts, count):
    prefix, lengths = torch.tensor([p for p, _ in parts]), torch.tensor([p + s + count for p, s in parts])
    width = int(lengths.max())
    whole = visible(prefix, lengths, count, width)
    for row, (p, s) in enumerate(parts):
        assert torch.equal(whole[row], seen_of(p, s, count, width - p - s - count))


@given(rows, st.sampled_from([torch.float32, torch.bfloat16]))
def test_the_additive_mask_is_dense_floats_and_leaves_every_row_something(row, dtype):
    mask = additive(seen_of(*row)[None], dtype)
    assert mask.shape[:2] == (1, 1)
    assert mask.dtype == dtype
    assert torch.isfinite(mask).all()
    assert (mask.max(dim=-1).values == 0).all()


def test_one_special_token_and_no_suffix_is_plain_causal():
    assert torch.equal(seen_of(5, 0, 1, 0), torch.ones(6, 6).tril().bool())


def network_of(base, attention):
    network = load_network(base.folder, dtype=torch.float32, attention=attention).eval()
    return network, lambda ids, mask: hidden_states(network, ids, mask)


@pytest.mark.parametrize("attention", [None, "eager"])
def test_backends_obey_the_mask(bases, family, attention):
    network, states = network_of(bases(family), attention)
    build = lambda seen: for_network(network.config, seen, torch.float32)  # noqa: E731
    known = network.config.vocab_size - 5
    for count in (1, 3):
        check_backend(states, build, ids=tuple(range(known, known + count)), vocabulary=known)


@pytest.mark.parametrize("blind", [True, False])
@pytest.mark.parametrize("bottleneck", [True, False])
def test_the_self_test_knows_the_switches(bases, blind, bottleneck):
    network, states = network_of(bases("llama"), "sdpa")
    build = lambda seen: for_network(network.config, seen, torch.float32)  # noqa: E731
    switches = {"blind": blind, "bottleneck": bottleneck}
    check_backend(states, build, ids=(310, 311), vocabulary=300, **switches)
    other = visible(torch.tensor([6]), torch.tensor([13]), 2, 16, blind=not blind, bottleneck=not bottleneck)
    with pytest.raises(GemError, match="misreads"):
        check_backend(states, lambda seen: build(other.expand_as(seen)), ids=(310, 311), vocabulary=300, **switches)


def drawn(seen):
    """Attention written out, in float64: the drawing, a layer's own window, its scale and its soft cap."""

    def attend(module, query, key, value, mask, *, scaling, softcap=None, sliding_window=None, **_):
        groups, width = query.shape[1] // key.shape[1], query.shape[2]
        query, key, value = (part.double() for part in (query, key, value))
        scores = query @ key.repeat_interleave(groups, dim=1).transpose(-1, -2) * scaling
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        position = torch.arange(width)
        near = position[:, None] - position < (sliding_window or width)
        shares = scores.masked_fill(~(seen & near)[:, None], -torch.inf).softmax(dim=-1)
        return (shares @ value.repeat_interleave(groups, dim=1)).transpose(1, 2).float(), None

    return attend


REFUSED = {("gemma2", "sdpa"), ("gpt2", "flex_attention")}
"""By transformers: its sdpa has no soft cap, and its GPT-2 no flex_attention."""


@pytest.mark.parametrize("attention", ["sdpa", "eager", "flex_attention"])
def test_every_family_on_every_backend_is_the_drawing_or_refused(bases, family, attention):
    """flex_attention on a CPU uncompiled, and forward only: torch has no backward pass of it there."""
    if (family, attention) in REFUSED:
        with pytest.raises(GemError, match=f"{family} does not run on {attention}; .* training.attention=eager"):
            network_of(bases(family), attention)
        return
    seen = visible(torch.tensor([9, 12]), torch.tensor([20, 24]), 3, 24)
    AttentionInterface.register("drawn", drawn(seen))
    ids, states = torch.arange(48).view(2, 24) + 10, []
    for backend in (attention, "drawn"):
        network, run = network_of(bases(family), backend)
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            states.append(run(ids, for_network(network.config, seen, torch.float32)))
    assert torch.allclose(states[0][0, :20], states[1][0, :20], atol=1e-4)
    assert torch.allclose(states[0][1], states[1][1], atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3"])
def test_flex_attention_compiled_obeys_the_mask_and_has_sdpas_gradients(bases, family):
    gradients = []
    for attention in ("flex_attention", "sdpa"):
        network = load_network(bases(family).folder, dtype=torch.float32, attention=attention).cuda()
        build = lambda seen, config=network.config: for_network(config, seen.cuda(), torch.float32)  # noqa: E731
        run = lambda ids, mask, network=network: hidden_states(network, ids.cuda(), mask).cpu()  # noqa: E731
        check_backend(run, build, ids=(310, 311), vocabulary=300)
        seen = visible(torch.tensor([90]), torch.tensor([140]), 2, 150)
        run(torch.arange(150)[None] + 10, build(seen))[:, :140].square().sum().backward()
        gradients.append(network.get_input_embeddings().weight.grad.cpu())
    assert torch.allclose(*gradients, rtol=1e-2, atol=1e-3 * float(gradients[1].abs().max()))


def test_flash_attention_is_refused_a_mask(bases):
    network, _ = network_of(bases("llama"), "sdpa")
    network.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match=r"takes no mask of ours .* set training.attention to sdpa or eager"):
        for_network(network.config, seen_of(3, 2, 2, 0)[None], torch.float32)


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_the_last_rows_of_a_mask_keep_the_window(bases, family):
    config = network_of(bases(family), "sdpa")[0].config
    seen = visible(torch.tensor([20]), torch.tensor([22]), 2, 22)
    whole, part = for_network(config, seen, torch.float32), for_network(config, seen[:, 18:], torch.float32)
    pairs = [(whole[kind], part[kind]) for kind in whole] if isinstance(whole, dict) else [(whole, part)]
    assert all(torch.equal(one[:, :, 18:], two) for one, two in pairs)


def refused(states, build):
    with pytest.raises(GemError, match="mask") as error:
        check_backend(states, build, ids=(310, 311), vocabulary=300)
    return str(error.value)


def test_the_self_test_catches_a_boolean_mask_under_eager(bases):
    _, states = network_of(bases("llama"), "eager")
    assert "the suffix sees the prefix" in refused(states, lambda seen: seen[:, None])


def test_the_self_test_catches_a_backend_that_ignores_masks(bases):
    network, _ = network_of(bases("llama"), "sdpa")
    message = refused(lambda ids, mask: hidden_states(network, ids), lambda seen: additive(seen, torch.float32))
    assert "the suffix sees the prefix" in message
    assert "special tokens see each other" in message


def test_the_self_test_catches_a_mask_that_blinds_the_suffix(bases):
    _, states = network_of(bases("llama"), "sdpa")

    def build(seen):
        return additive(seen & torch.eye(seen.shape[-1], dtype=torch.bool), torch.float32)

    assert "the suffix does not see the special tokens" in refused(states, build)


def test_the_self_test_catches_a_forgotten_sliding_window(bases):
    # the network's window is 8: under a mask without it the last prefix tokens differ from the plain pass
    long = lambda seen: additive(seen, torch.float32)  # noqa: E731
    network, _ = network_of(bases("mistral"), "sdpa")
    seen = visible(torch.tensor([20]), torch.tensor([24]), 1, 24)
    ids = torch.arange(24)[None] + 10
    with torch.no_grad():
        combined = hidden_states(network, ids, for_network(network.config, seen, torch.float32))
        plain, forgotten = hidden_states(network, ids), hidden_states(network, ids, long(seen))
    assert torch.allclose(plain[:, :21], combined[:, :21], atol=1e-4)
    assert not torch.allclose(plain[:, :21], forgotten[:, :21], atol=1e-2)


def test_a_backend_without_masks_is_told_in_one_line(bases):
    def states(ids, mask):
        raise ValueError("flash attention takes no 4D mask\nsecond line")

    message = refused(states, lambda seen: additive(seen, torch.float32))
    assert "takes no 4D mask" in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["opt", "bloom"])
def test_an_architecture_that_reads_more_from_a_mask_is_told_in_one_line(kind):
    """OPT takes its positions from it, Bloom its biases."""
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "n_head": 4, "num_hidden_layers": 2, "ffn_dim": 48}
    config = CONFIG_MAPPING[kind](vocab_size=320, word_embed_proj_dim=32, max_position_embeddings=64, **sizes)
    network = AutoModelForCausalLM.from_config(config).eval()
    message = refused(
        lambda ids, mask: hidden_states(network, ids, mask), lambda seen: for_network(config, seen, torch.float32)
    )
    assert "does not take the GEM mask" in message
    assert "choose another base model" in message
    assert "\n" not in message
