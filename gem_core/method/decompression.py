"""Decompression: a text restored from the keys and values of its special tokens alone (paper, appendix B).

A reconstruction row is ``a b c S T a b c``, and its suffix sees ``S T`` and itself. So the text is read once, all that
is kept of it is the cache of ``S T``, and decoding goes on behind them at the positions that follow theirs. The states
are those of the masked pass over the whole row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from gem_core.errors import GemError
from gem_core.method.attention_mask import for_network, visible
from gem_core.method.batches import padded
from gem_core.method.encoding import CALL_TOKENS, calls
from gem_core.method.network import causal_lm, hidden_states, output_layer
from gem_core.method.read_out import text_tokens, view_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from transformers import Cache

    from gem_core.method.model_parts import ModelParts

LENGTHS = (1, 9, 17, 33, 65, 129)
"""Where the classes of length begin for which scores are given, in tokens."""


@dataclass(frozen=True)
class Compressed:
    """What is left of a text."""

    cache: Cache
    """Keys and values of its k special tokens, in every layer."""
    state: Tensor
    """The last special token's last-layer state, [D]: it predicts the first token."""
    begin: tuple[int, ...]
    """What the tokenizer puts before every text (BOS); it is not restored."""
    position: int
    """Where decoding goes on."""
    length: int
    """Tokens to restore."""


@dataclass(frozen=True)
class Restored:
    """How well texts of one class of length are restored."""

    shortest: int
    """Tokens, from this many ..."""
    longest: int | None
    """... to this many."""
    texts: int
    exact: float
    """Share of texts restored without a fault."""
    tokens: float
    """Share of tokens that are the likeliest after the true ones before them."""


@torch.inference_mode()
def compress(model: ModelParts, text: str) -> Compressed:
    """Read a text, as much of it as fits twice (it is restored behind itself), and keep its special tokens.

    Raises:
        GemError: No special tokens, or nothing to compress.
    """
    from transformers import DynamicCache

    row, begin = _row(model, [text])[0], _begin(model)
    count, network = model.k, causal_lm(model.network)
    row = row[: (model.max_length - count + len(begin)) // 2]
    if len(row) == len(begin):
        raise GemError("a blank text has nothing to restore; write a few words")
    ids = torch.tensor([[*row, *model.special_ids]], device=model.device)
    lengths = torch.tensor([ids.shape[1]], device=model.device)
    mask = view_mask(network.config, lengths, count, ids.shape[1], network.dtype, blind=model.blind)
    read = DynamicCache()  # without a configuration: no layer forgets a token
    states = network.get_decoder()(input_ids=ids, attention_mask=mask, past_key_values=read, use_cache=True)
    kept = DynamicCache()
    for number, layer in enumerate(read.layers):
        kept.update(layer.keys[:, :, -count:].clone(), layer.values[:, :, -count:].clone(), number)
    return Compressed(kept, states.last_hidden_state[0, -1], begin, ids.shape[1], len(row) - len(begin))


@torch.inference_mode()
def decompress(model: ModelParts, text: str | Compressed) -> str:
    """See :meth:`gem_core.method.model.GemModel.decompress`."""
    tokens = restore(model, compress(model, text) if isinstance(text, str) else text)
    return str(model.tokenizer.decode(tokens, skip_special_tokens=True))


@torch.inference_mode()
def restore(model: ModelParts, compressed: Compressed) -> list[int]:
    """The likeliest tokens, one after the other, as many as the text had."""
    from transformers import DynamicCache

    network, head = causal_lm(model.network), output_layer(model.network)
    decoder, state, cache = network.get_decoder(), compressed.state, DynamicCache()
    for number, layer in enumerate(compressed.cache.layers):  # a copy: a text may be restored twice
        cache.update(layer.keys, layer.values, number)
    tokens: list[int] = []
    for position in range(compressed.position, compressed.position + compressed.length):
        logits = head(state[None])[0]
        logits[[special for special in model.special_ids if special < len(logits)]] = -torch.inf
        tokens.append(int(logits.argmax()))
        if len(tokens) < compressed.length:
            ids, where = (torch.tensor([[number]], device=model.device) for number in (tokens[-1], position))
            passed = decoder(input_ids=ids, position_ids=where, past_key_values=cache, use_cache=True)
            state = passed.last_hidden_state[0, -1]
    return tokens


@torch.inference_mode()
def score(model: ModelParts, texts: Sequence[str], *, batch_size: int = 32) -> list[Restored]:
    """How well texts are restored, by length.

    One masked pass over ``text, special tokens, text`` tells both: a text is restored without a fault if and only if
    each of its tokens is the likeliest after the true ones before it.

    Args:
        model: With special tokens.
        texts: Blank ones and those that do not fit twice are left out.
        batch_size: Texts a pass.

    Raises:
        GemError: No special tokens, or no text to restore.
    """
    begin, count = len(_begin(model)), model.k
    rows = [row for row in _row(model, texts) if begin < len(row) and 2 * len(row) + count - begin <= model.max_length]
    if not rows:
        raise GemError("no text to restore: all are blank, or too long to stand twice in a row")
    right: list[Tensor] = [torch.empty(0)] * len(rows)
    whole = [[*row, *model.special_ids, *row[begin:]] for row in rows]
    for chosen in calls([len(row) for row in whole], batch_size, CALL_TOKENS.get(model.device.type)):
        for number, hits in zip(chosen, _hits(model, [(whole[i], len(rows[i])) for i in chosen]), strict=True):
            right[number] = hits
    found = []
    for shortest, after in zip(LENGTHS, (*LENGTHS[1:], None), strict=True):
        part = [hits for hits in right if len(hits) >= shortest and (after is None or len(hits) < after)]
        if part:
            exact = float(np.mean([bool(hits.all()) for hits in part]))
            tokens = float(torch.cat(part).float().mean())
            found.append(Restored(shortest, None if after is None else after - 1, len(part), exact, tokens))
    return found


def _hits(model: ModelParts, rows: list[tuple[list[int], int]]) -> list[Tensor]:
    """For rows with the length of their prefix: which suffix tokens are the likeliest, [suffix] bool each."""
    ids, lengths = (torch.from_numpy(part).to(model.device) for part in padded([row for row, _ in rows], filler=0))
    prefix = torch.tensor([length for _, length in rows], device=model.device)
    network, head = causal_lm(model.network), output_layer(model.network)
    seen = visible(prefix, lengths, model.k, ids.shape[1], blind=model.blind)
    states = hidden_states(model.network, ids, for_network(network.config, seen, network.dtype))
    hits = []
    for number, (row, length) in enumerate(rows):
        first = length + model.k
        logits = head(states[number, first - 1 : len(row) - 1])
        logits[:, [special for special in model.special_ids if special < logits.shape[1]]] = -torch.inf
        hits.append(logits.argmax(dim=-1).cpu() == torch.tensor(row[first:]))
    return hits


def _row(model: ModelParts, texts: Sequence[str]) -> list[list[int]]:
    if model.read_out != "special":
        raise GemError("a base model has no special tokens to compress a text into; post-train it first")
    room = model.max_length - model.k
    return text_tokens(model.tokenizer, texts, room, blank=True)


def _begin(model: ModelParts) -> tuple[int, ...]:
    return tuple(text_tokens(model.tokenizer, [""], model.max_length, blank=True)[0])
