"""Lossless training without a graph of the prefix.

Where the adapter acts at the special tokens alone, no gradient runs through a prefix: its keys and values are the
base's. So it is read once, keeping nothing but them, and only the special tokens and the suffix are run with a graph::

          a b c | S T x y
          once, | with a graph; attends to the keys
          none  | and values left of the bar
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gem_core.method.attention_mask import for_network, visible
from gem_core.method.encoding import calls
from gem_core.method.last_layer import reading_only
from gem_core.method.network import adapter_off, causal_lm
from gem_core.method.precision import without_gradient

if TYPE_CHECKING:
    from transformers import DynamicCache

    from gem_core.method.network import Network

OVERHEAD_TOKENS = 4000
"""What a call costs besides its tokens, in tokens (measured with 12 million parameters and an adapter of full rank):
for the few tokens of a tail every weight is read and every gradient written, and pads of prefixes cost little."""
CALL_TOKENS = {"cpu": 200}
"""The same of a call that reads prefixes, within one of those; elsewhere all are read in one."""


def applies(network: Network) -> bool:
    """Whether the network can be run this way: activated, without windows or checkpoints, which keep no cache."""
    model = causal_lm(network)
    windowed = getattr(model.config, "sliding_window", None) and getattr(model.config, "use_sliding_window", True)
    return hasattr(network, "activation") and not windowed and not model.is_activation_checkpointing


def tail_states(
    network: Network,
    ids: Tensor,
    prefix: Tensor,
    lengths: Tensor,
    count: int,
    dtype: torch.dtype,
    *,
    blind: bool = True,
    bottleneck: bool = True,
    hidden: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Last-layer states of special tokens and suffix, the prefix read without a graph.

    Args:
        network: One that this applies to.
        ids: Right-padded rows, [B, L].
        prefix: As for :func:`gem_core.method.attention_mask.visible`, like the arguments that are not named here.
        lengths: Likewise.
        count: Likewise.
        dtype: What attention computes in.
        blind: Likewise.
        bottleneck: Likewise.
        hidden: Likewise.

    Returns:
        The states [B, T, D] from each row's first special token on, their ids [B, T], and how many are no pads [B].
    """
    model, tail_lengths = causal_lm(network), lengths - prefix
    head_width, width = int(prefix.max()), int(tail_lengths.max())
    column = torch.arange(max(head_width, width), device=ids.device)
    in_head, in_tail = column[:head_width] < prefix[:, None], column[:width] < tail_lengths[:, None]
    place = prefix[:, None] + column[:width]
    tail = ids.gather(1, place.clamp(max=ids.shape[1] - 1)).masked_fill(~in_tail, 0)

    hidden = None if hidden is None else hidden[:, :head_width]
    seen_head = in_head if hidden is None else in_head & ~hidden
    reaches = in_tail & ((column[:width] < count) | (not bottleneck))
    seen = torch.cat(
        [
            seen_head[:, None, :] & reaches[:, :, None],
            visible(torch.zeros_like(prefix), tail_lengths, count, width, blind=blind),
        ],
        dim=-1,
    )
    head = ids[:, :head_width].masked_fill(~in_head, 0)
    states = model.get_decoder()(
        input_ids=tail,
        attention_mask=for_network(model.config, seen, dtype),
        position_ids=torch.minimum(place, lengths[:, None] - 1),
        past_key_values=_keys_and_values(network, head, prefix, hidden, dtype),
        use_cache=True,
    ).last_hidden_state
    return states, tail, tail_lengths


def _keys_and_values(
    network: Network, head: Tensor, prefix: Tensor, hidden: Tensor | None, dtype: torch.dtype
) -> DynamicCache:
    """Of the base, of right-padded prefixes [B, P]; zeros for pads. Rows of similar length are read together."""
    from transformers import DynamicCache

    model, head_width = causal_lm(network), head.shape[1]
    whole: list[tuple[Tensor, ...]] = []
    with without_gradient(head.device), adapter_off(network):
        for rows in calls(prefix.tolist(), len(head), CALL_TOKENS.get(head.device.type)):
            width, cache = int(prefix[rows[0]]), DynamicCache()
            if not width:
                continue
            mask = None
            if hidden is not None:
                seen = visible(prefix[rows], prefix[rows], 0, width, hidden=hidden[rows, :width])
                mask = for_network(model.config, seen, dtype)
            part = head[rows, :width]
            with reading_only(torch.zeros_like(part, dtype=torch.bool), model):
                model.get_decoder()(input_ids=part, attention_mask=mask, past_key_values=cache, use_cache=True)
            read = [(layer.keys, layer.values) for layer in cache.layers]
            if not whole:
                whole = [tuple(x.new_zeros(len(head), x.shape[1], head_width, x.shape[3]) for x in two) for two in read]
            for places, states in zip(whole, read, strict=True):
                for place, state in zip(places, states, strict=True):
                    place[rows, :, :width] = state
    return DynamicCache(whole or None)
