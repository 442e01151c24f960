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
from gem_core.method.network import causal_lm

if TYPE_CHECKING:
    from gem_core.method.network import Network

OVERHEAD_TOKENS = 600
"""What a call costs besides its tokens, in tokens (measured with 12 million parameters and an adapter of full rank):
for the few tokens of a tail every weight is read and every gradient written."""


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
    from transformers import DynamicCache

    model, tail_lengths = causal_lm(network), lengths - prefix
    head_width, width = int(prefix.max()), int(tail_lengths.max())
    column = torch.arange(max(head_width, width), device=ids.device)
    in_head, in_tail = column[:head_width] < prefix[:, None], column[:width] < tail_lengths[:, None]
    place = prefix[:, None] + column[:width]
    tail = ids.gather(1, place.clamp(max=ids.shape[1] - 1)).masked_fill(~in_tail, 0)

    seen_head = in_head if hidden is None else in_head & ~hidden[:, :head_width]
    reaches = in_tail & ((column[:width] < count) | (not bottleneck))
    seen = torch.cat(
        [
            seen_head[:, None, :] & reaches[:, :, None],
            visible(torch.zeros_like(prefix), tail_lengths, count, width, blind=blind),
        ],
        dim=-1,
    )
    decoder, cache = model.get_decoder(), DynamicCache()
    with torch.no_grad():
        head_mask = None
        if hidden is not None:
            head_seen = visible(prefix, prefix, 0, head_width, hidden=hidden[:, :head_width])
            head_mask = for_network(model.config, head_seen, dtype)
        head = ids[:, :head_width].masked_fill(~in_head, 0)
        decoder(input_ids=head, attention_mask=head_mask, past_key_values=cache, use_cache=True)
    states = decoder(
        input_ids=tail,
        attention_mask=for_network(model.config, seen, dtype),
        position_ids=torch.minimum(place, lengths[:, None] - 1),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return states, tail, tail_lengths
