"""Gradients of a loss over many embeddings in the memory of a few (GradCache, Gao et al. 2021, arXiv 2101.06983).

The contrastive loss needs all embeddings of a batch at once, but the network's graph only for the part at hand: embed
every part without a graph, take the loss's gradient in the embeddings, then embed part by part once more and go on
backwards from there. The second pass repeats the random numbers of the first, so the gradients are those of one pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Part = TypeVar("Part")


def backward(
    parts: Sequence[Part], embed: Callable[[Part], Tensor], loss: Callable[[Tensor], Tensor], *, cached: bool
) -> float:
    """Add the gradients of ``loss(all embeddings)`` up in the parameters.

    Args:
        parts: What is embedded together; at least one.
        embed: A part to its embeddings, [n, D].
        loss: All embeddings [N, D], in the order of the parts, to a scalar. Called once.
        cached: Embed twice instead of keeping every part's graph.

    Returns:
        The loss.
    """
    if not cached or len(parts) == 1:
        whole = loss(torch.cat([embed(part) for part in parts]))
        if whole.requires_grad:
            whole.backward()
        return whole.item()
    states, embedded = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state())
            embedded.append(embed(part))
    own = torch.cat(embedded).requires_grad_()
    whole = loss(own)
    if whole.requires_grad:
        whole.backward()
    gradient = torch.zeros_like(own) if own.grad is None else own.grad
    after = _random_state()
    for part, state, piece in zip(parts, states, gradient.split([len(one) for one in embedded]), strict=True):
        _set_random_state(state)
        again = embed(part)
        again.backward(piece.to(again.dtype))
    _set_random_state(after)
    return whole.item()


def _random_state() -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [])]


def _set_random_state(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    for cuda in state[1:]:
        torch.cuda.set_rng_state(cuda)
