"""The k special tokens: their names, their ids, their first values.

Where a row is cut for them is part of the plan of a batch (:mod:`gem_core.method.batches`); what they see is the mask
(:mod:`gem_core.method.attention_mask`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gem_core.errors import GemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gem_core.recipe import SpecialTokens


def token_names(count: int) -> tuple[str, ...]:
    """``<|gem_0|>`` ... ``<|gem_{k-1}|>``: distinct, since equal tokens blind to each other differ by position only."""
    return tuple(f"<|gem_{i}|>" for i in range(count))


def add_special_tokens(tokenizer: PreTrainedTokenizerBase, count: int) -> tuple[int, ...]:
    """Add the k tokens to ``tokenizer`` in place.

    Returns:
        Their ids, consecutive and behind every id the tokenizer had.

    Raises:
        GemError: The vocabulary already holds one of them.
    """
    names = token_names(count)
    vocabulary = tokenizer.get_vocab()
    held = [name for name in names if name in vocabulary]
    if held:
        raise GemError(
            f"the base model's vocabulary already holds {', '.join(held)}; "
            "post-train the base model it was made from, not a GEM model"
        )
    tokenizer.add_special_tokens({"additional_special_tokens": list(names)}, replace_extra_special_tokens=False)
    return tuple(tokenizer.convert_tokens_to_ids(list(names)))


def special_token_ids(tokenizer: PreTrainedTokenizerBase, count: int) -> tuple[int, ...]:
    """The ids of k tokens that the tokenizer holds already (a saved GEM model), consecutive as they were added.

    Raises:
        GemError: It does not hold all of them, or under other ids than :func:`add_special_tokens` gives.
    """
    vocabulary = tokenizer.get_vocab()
    missing = [name for name in token_names(count) if name not in vocabulary]
    if missing:
        raise GemError(
            f"the model's tokenizer lacks {', '.join(missing)}; its folder is damaged, fetch or train it again"
        )
    ids = tuple(vocabulary[name] for name in token_names(count))
    consecutive = ids == tuple(range(ids[0], ids[0] + count))
    if not consecutive or ids[-1] != max(vocabulary.values()):
        raise GemError(
            "the model's tokenizer holds its special tokens under ids that are "
            f"{'not behind all others' if consecutive else 'not consecutive'} {ids}; "
            "its folder is damaged, fetch or train it again"
        )
    return ids


def initialise_rows(network: PreTrainedModel, ids: Sequence[int], special_tokens: SpecialTokens, *, seed: int) -> None:
    """Give the new tokens their rows: the mean of the known rows or zero, plus some of their standard deviation.

    The mean stays inside the distribution the layers know. A row near zero is still near zero behind an RMS norm, and
    so are its queries: it attends to all tokens alike, where a base's queries go to the first one (attention sinks,
    Xiao et al. 2024, arXiv 2309.17453). Input and (untied) output matrix get rows of their own.
    The matrices grow only where they have to: many models keep spare rows behind their vocabulary. A few have
    fewer rows than their tokenizer has tokens: those tokens are given rows in the same way.
    Equal base, ids, settings and seed give equal rows: an adapter relies on it for the output rows it does not store.

    Args:
        network: A transformers causal language model; changed in place.
        ids: The new ids, the smallest of them equal to the number of known tokens.
        special_tokens: Where rows start, and with how much noise.
        seed: Of the noise.
    """
    rows_before, needed = network.get_input_embeddings().weight.shape[0], max(ids) + 1
    known = min(*ids, rows_before)
    fresh = [row for row in range(known, needed) if row >= rows_before or row in ids]
    if rows_before < needed:
        network.resize_token_embeddings(needed, mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    inputs, outputs = network.get_input_embeddings(), network.get_output_embeddings()
    tied = outputs is None or outputs.weight is inputs.weight
    with torch.no_grad():
        for matrix in [inputs.weight] if tied else [inputs.weight, outputs.weight]:
            matrix[fresh] = _first_values(matrix[:known], len(fresh), special_tokens, generator)
        bias = None if outputs is None else getattr(outputs, "bias", None)
        if bias is not None:
            bias[fresh] = bias[:known].mean()


def first_rows(network: PreTrainedModel, ids: Sequence[int], special_tokens: SpecialTokens, *, seed: int) -> Tensor:
    """The input rows [k, D] that :func:`initialise_rows` would give the new tokens, without touching the network."""
    matrix = network.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return _first_values(matrix[: min(*ids, len(matrix))], len(ids), special_tokens, generator)


def _first_values(known: Tensor, count: int, settings: SpecialTokens, generator: torch.Generator) -> Tensor:
    rows = known.float()
    spread = torch.randn(count, rows.shape[1], generator=generator).to(rows.device)
    centre = rows.mean(dim=0) if settings.start == "mean" else 0.0
    return (centre + settings.noise * rows.std(dim=0) * spread).to(known.dtype)
