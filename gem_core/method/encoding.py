"""Embedding many texts without computing what need not be: pads, and the last layer of tokens that nobody reads.

Only the work differs, not the result: an embedding is the same to rounding in whichever call its text goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gem_core.errors import GemError
from gem_core.method.batches import padded
from gem_core.method.last_layer import last_tokens, reading_only
from gem_core.method.network import causal_lm, hidden_states
from gem_core.method.products import fast_products
from gem_core.method.read_out import prompt_tokens, special_states, text_states, text_tokens, view_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from gem_core.method.model_parts import ModelParts

CALL_TOKENS = {"cpu": 32}
"""What a forward call costs besides its tokens, in tokens (measured with 12 million parameters on a CPU).

Elsewhere a call costs more than any padding it could save: batches stay whole.
"""


@torch.inference_mode()
def encode(
    model: ModelParts,
    texts: Sequence[str],
    *,
    batch_size: int,
    max_length: int,
    normalize: bool,
    size: int | None,
    template: str,
    refuse_blank: bool,
    progress: Callable[[int, int], None] | None,
) -> npt.NDArray[np.float32]:
    """See :meth:`gem_core.method.model.GemModel.encode`."""
    if not texts:
        raise GemError("no text to embed; give at least one")
    special = list(model.special_ids) if model.read_out == "special" else []
    room = min(max_length, model.max_length) - len(special)
    if room < 1:
        raise GemError(f"max_length={max_length} leaves no room beside {len(special)} special tokens; raise it")
    distinct, prompt = list(dict.fromkeys(texts)), prompt_tokens(model.tokenizer, template)
    wrapped = [template.replace("{text}", text) for text in distinct]
    rows = [row + special for row in text_tokens(model.tokenizer, wrapped, room, blank=bool(special))]
    if refuse_blank and not all(rows):
        raise GemError("a blank text has no token to read here (no special tokens, BOS or EOS); leave it out")
    width, done = min(size or model.dimension, model.dimension), 0
    embeddings = np.zeros((len(rows), width), dtype=np.float32)
    for cut in calls([len(row) for row in rows], batch_size, CALL_TOKENS.get(model.device.type)):
        chosen = [i for i in cut if rows[i]]  # a text without a token stays zeros
        if not chosen:
            continue
        with fast_products(model.device, causal_lm(model.network).dtype):
            read = embed_together(model, [rows[i] for i in chosen], len(special), prompt)[:, :width]
        embeddings[chosen] = (functional.normalize(read, dim=-1) if normalize else read).cpu().numpy()
        done += len(chosen)
        if progress is not None:
            progress(done, len(rows))
    place = {text: i for i, text in enumerate(distinct)}
    return embeddings[[place[text] for text in texts]]


def embed_together(model: ModelParts, rows: list[list[int]], count: int, prompt: int = 0) -> Tensor:
    """Embeddings [B, D], in one call, of rows that end in ``count`` special tokens.

    They begin with ``prompt`` tokens of a template. No row is empty.
    """
    ids, lengths = (torch.from_numpy(part).to(model.device) for part in padded(rows, filler=0))
    network, width = causal_lm(model.network), ids.shape[1]
    mask = view_mask(network.config, lengths, count, width, network.dtype, blind=model.blind)
    last = count or int(model.read_out == "last")
    with reading_only(last_tokens(lengths, last, width) if last else None, network):
        states = hidden_states(model.network, ids, mask).float()
    if count:
        return special_states(states, lengths, count, model.pooling)
    return text_states(states, lengths, model.read_out, prompt)


def calls(lengths: Sequence[int], batch_size: int, call_tokens: int | None) -> list[list[int]]:
    """Which texts go through the network together, longest first (too little memory shows at once).

    A call ends when it is full, or when its padding has cost as much as another call would.

    Args:
        lengths: Tokens of each text.
        batch_size: Texts of a call at most.
        call_tokens: What a call costs, in tokens; None: no call ends for its padding.

    Returns:
        The numbers of the texts, by call.
    """
    cut: list[list[int]] = []
    padding = 0
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if cut:
            padding += lengths[cut[-1][0]] - lengths[number]
        if not cut or len(cut[-1]) == batch_size or (call_tokens is not None and padding > call_tokens):
            cut.append([])
            padding = 0
        cut[-1].append(number)
    return cut
