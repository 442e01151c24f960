"""The losses, as pure functions of tensors.

N: positions or rows, D: hidden size, V: vocabulary. Losses over the vocabulary return *sums*, so that a step can
divide by the token count of the whole global batch, whoever computed which part.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]
"""Last-layer states [N, D] to logits [N, V]."""

LOGITS_AT_ONCE = 2**25
"""Numbers of one [chunk, V] tensor of logits: 128 MiB in float32, whatever the vocabulary."""


def next_token_loss(states: Tensor, targets: Tensor, head: Head, vocabulary: int) -> Tensor:
    """Summed cross-entropy of the next token, with the logits computed and recomputed in chunks of positions.

    Args:
        states: States of the slots that predict, [N, D].
        targets: The tokens they predict, [N].
        head: The output layer.
        vocabulary: V, which sets the size of a chunk.
    """

    def chunk_loss(states: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(head(states).float(), targets, reduction="sum")

    return _chunked(chunk_loss, vocabulary, states, targets)


def divergence(states: Tensor, base: Tensor, head: Head, base_head: Head, vocabulary: int) -> Tensor:
    """Summed KL(base || model) of the next-token distributions, chunked as :func:`next_token_loss` is.

    Args:
        states: States of the model, [N, D].
        base: States of the base for the same positions, [N, D].
        head: The model's output layer.
        base_head: The base's.
        vocabulary: V.
    """

    def chunk_loss(states: Tensor, base: Tensor) -> Tensor:
        with torch.no_grad():
            expected = functional.log_softmax(base_head(base).float(), dim=-1)
        predicted = functional.log_softmax(head(states).float(), dim=-1)
        return functional.kl_div(predicted, expected, reduction="sum", log_target=True)

    return _chunked(chunk_loss, vocabulary, states, base)


def _chunked(loss: Callable[[Tensor, Tensor], Tensor], vocabulary: int, one: Tensor, two: Tensor) -> Tensor:
    size = max(1, LOGITS_AT_ONCE // vocabulary)
    if one.shape[0] <= size:  # one chunk fits: spare the second forward
        return loss(one, two)
    total = one.new_zeros((), dtype=torch.float32)
    for part, other in zip(one.split(size), two.split(size), strict=True):
        total = total + checkpoint(loss, part, other, use_reentrant=False)
    return total


def contrastive_loss(
    first: Tensor, second: Tensor, log_scale: Tensor, same: Tensor | None = None, dimensions: Sequence[int] = ()
) -> Tensor:
    """InfoNCE over in-batch negatives, both directions averaged: row i of one view has to find row i of the other.

    Args:
        first: Embeddings of one view (or the anchors), [N, D], of any length.
        second: Embeddings of the other (or the positives), and behind them hard negatives, which only the first
            direction meets: [N + M, D].
        log_scale: Logarithm of what cosines are multiplied with (CLIP's logit scale), a scalar.
        same: True where a second text is no negative of a row, being the same as one of its own, [N, N + M].
        dimensions: Matryoshka (Kusupati et al. 2022, arXiv 2205.13147): the mean of the losses of the whole
            embeddings and of their first so many numbers.

    Returns:
        The mean over the N rows.
    """
    sizes = [*dimensions, first.shape[1]]
    losses = [_info_nce(first[:, :size].float(), second[:, :size].float(), log_scale, same) for size in sizes]
    return torch.stack(losses).mean()


def _info_nce(first: Tensor, second: Tensor, log_scale: Tensor, same: Tensor | None) -> Tensor:
    logits = log_scale.exp() * functional.normalize(first, dim=-1) @ functional.normalize(second, dim=-1).T
    count = len(logits)
    own = torch.arange(count, device=logits.device)
    if same is not None:
        duplicates = same & (own[:, None] != torch.arange(logits.shape[1], device=logits.device))
        logits = logits.masked_fill(duplicates, -torch.inf)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits[:, :count].T, own)) / 2
