"""Going on with a text, and reading one so that a single prefill serves its embedding and its continuation."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from gem_core.errors import GemError
from gem_core.method.attention_mask import for_network, visible
from gem_core.method.network import causal_lm
from gem_core.method.read_out import special_states, text_tokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from transformers import Cache, GenerationConfig

    from gem_core.method.model_parts import ModelParts


@dataclass(frozen=True)
class Reading:
    """A text that was read once."""

    embedding: npt.NDArray[np.float32]
    """[D], of length 1."""
    tokens: tuple[int, ...]
    cache: Cache
    """Keys and values of all tokens but the last, which generation begins with."""

    def branch(self) -> Cache:
        """The cache to write on; this reading's own stays as it is."""
        return _branch(self.cache)


@torch.inference_mode()
def read(model: ModelParts, text: str) -> Reading:
    """Read a text once, for its embedding and to go on from.

    The text but its last token is prefilled as for generation. Beside that prefill the embedding costs one short pass
    over the last token and the special tokens, on a branch of the cache.

    Raises:
        GemError: No special tokens, or nothing to read.
    """
    from transformers import DynamicCache

    if model.read_out != "special":
        raise GemError("a base model has no special tokens to read a text with; post-train it first")
    count, network = model.k, causal_lm(model.network)
    room = model.max_length - count
    row = text_tokens(model.tokenizer, [text], room)[0]
    if not row:
        raise GemError("a blank text, and no BOS or EOS to read; write a few words")
    embedded = text_tokens(model.tokenizer, [text], room, blank=True)[0]  # generation begins a blank text with BOS
    ids = torch.tensor([[*embedded, *model.special_ids]], device=model.device)
    split, width = len(row) - 1, len(embedded) + count
    decoder, cache = network.get_decoder(), DynamicCache()  # without a configuration: no layer forgets a token
    if split:
        decoder(input_ids=ids[:, :split], past_key_values=cache, use_cache=True)
    mask = None
    if count > 1 and model.blind:
        lengths = torch.tensor([width], device=model.device)
        seen = visible(lengths - count, lengths, count, width)[:, split:]
        mask = for_network(network.config, seen, network.dtype)
    states = decoder(
        input_ids=ids[:, split:], attention_mask=mask, past_key_values=_branch(cache), use_cache=True
    ).last_hidden_state.float()
    embedding = special_states(states, torch.tensor([width - split], device=model.device), count, model.pooling)
    return Reading(functional.normalize(embedding, dim=-1)[0].cpu().numpy(), tuple(row), cache)


@torch.inference_mode()
def generate(model: ModelParts, prompt: str | Reading, *, max_new_tokens: int, temperature: float, seed: int) -> str:
    """The continuation of a prompt as the ordinary decoder writes it; special tokens are never sampled.

    Args:
        model: Whose.
        prompt: A text, which may be blank where the tokenizer has a BOS or EOS; or one that was read.
        max_new_tokens: At most.
        temperature: 0 takes the likeliest token.
        seed: Of the sampling.

    Raises:
        GemError: Nothing to begin with, or no room for the new tokens (a text loses its beginning for them; a reading
            loses nothing).
    """
    if isinstance(prompt, Reading):
        row, past = list(prompt.tokens), prompt.branch()
    else:
        room, past = max(1, model.max_length - max_new_tokens), None
        row = text_tokens(model.tokenizer, [prompt], room, to_go_on=True)[0]
    if not row:
        raise GemError("a blank prompt, and no BOS or EOS to begin with; write a few words")
    check_room(model, len(row), max_new_tokens)
    ids = torch.tensor([row], device=model.device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        written = causal_lm(model.network).generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=decoding(model, max_new_tokens, temperature),
            past_key_values=past,
        )
    return str(model.tokenizer.decode(written[0, len(row) :], skip_special_tokens=True))


def check_room(model: ModelParts, tokens: int, new_tokens: int) -> None:
    """Refuse to go on beyond the positions that the network knows.

    Raises:
        GemError: More than fit.
    """
    limit = model.max_positions or model.max_length
    if tokens + new_tokens > limit:
        raise GemError(
            f"{new_tokens} new tokens do not fit behind {tokens}: the model takes {limit} in all; "
            f"ask for {limit - tokens} or fewer"
        )


def decoding(model: ModelParts, max_new_tokens: int, temperature: float) -> GenerationConfig:
    """How tokens are chosen; special tokens never are."""
    from transformers import GenerationConfig

    network, tokenizer = causal_lm(model.network), model.tokenizer
    own, filler = network.generation_config, tokenizer.pad_token_id
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}
    vocabulary = network.get_output_embeddings().weight.shape[0]
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id,
        pad_token_id=filler if filler is not None else tokenizer.eos_token_id,
        # in lossless mode the output layer does not know them
        suppress_tokens=[token for token in model.special_ids if token < vocabulary] or None,
        **sampling,
    )


def _branch(cache: Cache) -> Cache:
    """A cache with the same contents that grows by itself: layers append by making new tensors."""
    branch = copy.copy(cache)
    branch.layers = [copy.copy(layer) for layer in cache.layers]
    return branch
