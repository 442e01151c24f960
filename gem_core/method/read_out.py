"""From texts to sequences, and from last-layer states to one embedding a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gem_core.method.attention_mask import for_network, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

    from gem_core.method.attention_mask import Mask

READ_OUTS = ("special", "mean", "last")
PLAIN = ("mean", "last")
"""Those of a text's own tokens."""
TOGETHER = "+".join(PLAIN)
"""Both side by side, from one pass."""


def text_tokens(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
    *,
    blank: bool = False,
    to_go_on: bool = False,
) -> list[list[int]]:
    """Token ids as the tokenizer reads raw text (with its BOS, if it has one), a trailing EOS taken off.

    A longer text loses its end, as training rows do, wherever the tokenizer itself would cut; one that is to be gone on
    from loses tokens behind its BOS instead, for it is its end that is continued. A text without a token (blank, or
    white space to the tokenizer) becomes its BOS or EOS alone, if there is one; with ``blank`` it stays without, since
    special tokens follow.
    """
    if not texts:
        return []
    rows = tokenizer(list(texts), verbose=False)["input_ids"]  # else it warns of what is cut here
    whole = [row[:-1] if row and row[-1] == tokenizer.eos_token_id else row for row in rows]
    kept = [_end_of(row, max_length, tokenizer.bos_token_id) if to_go_on else row[:max_length] for row in whole]
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [row or ([] if blank or begin is None else [begin]) for row in kept]


def _end_of(row: list[int], length: int, bos: int | None) -> list[int]:
    """The last tokens of a row, behind the BOS that it begins with."""
    begin = row[:1] if row[:1] == [bos] else []
    return row if len(row) <= length else begin + row[len(row) - length + len(begin) :]


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, template: str) -> int:
    """How many tokens stand before the text in a template (``Query: {text}``); none in the bare ``{text}``.

    The last may join with the text's beginning, as a space does; it then counts as the text's.
    """
    before = template.partition("{text}")[0].rstrip()
    return len(text_tokens(tokenizer, [before], len(before.encode()) + 8)[0]) if before else 0


def view_mask(
    config: PreTrainedConfig,
    lengths: Tensor,
    count: int,
    width: int,
    dtype: torch.dtype,
    *,
    blind: bool = True,
    hidden: Tensor | None = None,
) -> Mask | None:
    """The mask of texts that end in their special tokens; arguments: :func:`~gem_core.method.attention_mask.visible`.

    With one special token (or none), or several that see each other, it is plain causal: no mask, and any server can
    make the same embedding.
    """
    if hidden is None and (count <= 1 or not blind):
        return None
    return for_network(config, visible(lengths - count, lengths, count, width, blind=blind, hidden=hidden), dtype)


def special_states(states: Tensor, lengths: Tensor, count: int, pooling: str) -> Tensor:
    """Embeddings from the special tokens, the last ``count`` of each row.

    Their ``mean`` [B, D], the ``last`` of them [B, D], or all in a row (``concat``, [B, kD]).
    """
    where = (lengths - count)[:, None] + torch.arange(count, device=lengths.device)
    states = states[torch.arange(len(lengths), device=lengths.device)[:, None], where]
    if pooling == "concat":
        return states.flatten(start_dim=1)
    return states[:, -1] if pooling == "last" else states.mean(dim=1)


def text_states(states: Tensor, lengths: Tensor, read_out: str, prompt: int = 0) -> Tensor:
    """Embeddings from the text's own tokens: their ``mean`` or their ``last``, [B, D].

    ``mean+last`` is both in a row, [B, 2D]. The mean leaves out the first ``prompt`` tokens of each row, though never
    its last one.
    """
    if read_out == TOGETHER:
        return torch.cat([text_states(states, lengths, one, prompt) for one in PLAIN], dim=1)
    if read_out == "last":
        return states[torch.arange(len(lengths), device=lengths.device), lengths - 1]
    position, first = torch.arange(states.shape[1], device=lengths.device), lengths.sub(1).clamp(max=prompt)
    own = (position >= first[:, None]) & (position < lengths[:, None])
    return (states * own[..., None]).sum(dim=1) / (lengths - first)[:, None]
