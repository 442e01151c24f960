"""What turns gradients into steps: AdamW, or Muon for the matrices and AdamW for the rest, behind one face.

A special token that is to carry a text's words has to learn directions of very unequal variance. AdamW learns the
strongest first and the others late; Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) makes every
direction of a matrix's update equally long: 300 steps by it end above 1,000 by AdamW (docs/results.md).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from gem_core.method import data_parallel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gem_core.method.network import Network
    from gem_core.method.schedule import Rates
    from gem_core.recipe import Training

_ROWS = ("trainable_tokens", "special_rows")
"""Parts of the names of the special tokens' own embeddings: vectors one beside the other, and no matrix."""
FACTOR = "gem_factor"
"""In a group of weights: what its rate is multiplied by."""


class Optimizer:
    """Of a network's trained weights and of what is trained beside it.

    Args:
        network: Says which of the weights are those of linear layers.
        trained: All that is trained, by name.
        training: ``weight_decay`` is for matrices alone; with ``muon`` the weights of linear layers are Muon's.
    """

    def __init__(self, network: Network, trained: Mapping[str, nn.Parameter], training: Training) -> None:
        orthogonal = _linear(network) if training.muon is not None else {}
        muon: dict[float, list[nn.Parameter]] = {}
        for weight in trained.values():
            if id(weight) in orthogonal:
                muon.setdefault(orthogonal[id(weight)], []).append(weight)
        left = {name: weight for name, weight in trained.items() if id(weight) not in orthogonal}
        decayed = [weight for name, weight in left.items() if weight.ndim >= 2 and not _is_rows(name)]
        others = [weight for name, weight in left.items() if weight.ndim < 2 or _is_rows(name)]
        groups = [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._parts: dict[str, torch.optim.Optimizer] = {"adamw": torch.optim.AdamW(groups, lr=0.0, fused=True)}
        if muon:
            matrices = [
                {"params": weights, FACTOR: factor, "weight_decay": training.weight_decay / factor}
                for factor, weights in muon.items()
            ]
            # five products of every matrix with itself: done once, and not by every worker
            self._parts["muon"] = data_parallel.shared_out(torch.optim.Muon, matrices)

    def step(self, rates: Rates) -> None:
        """Take a step at these rates, and forget the gradients."""
        for name, part in self._parts.items():
            for group in part.param_groups:
                group["lr"] = getattr(rates, name) * group.get(FACTOR, 1.0)
            part.step()
            part.zero_grad(set_to_none=True)

    def gather(self) -> None:
        """Bring the state that the workers share together on rank 0; called by every worker."""
        for part in self._parts.values():
            data_parallel.gather_state(part)

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, by optimizer; gathered before, and on rank 0 alone."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of the same weights."""
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


def _is_rows(name: str) -> bool:
    return any(part in name for part in _ROWS)


def _linear(network: Network) -> dict[int, float]:
    """The weights of linear layers, adapters' among them, but not the output layer's: what Muon is made for.

    Each with what its rate is multiplied by: torch lets a matrix with more rows than columns go further by the root of
    their ratio, rows being a layer's outputs, and GPT-2's (``Conv1D``) has them the other way round.
    """
    output = network.get_output_embeddings()
    factors = {}
    for layer in network.modules():
        if isinstance(layer, nn.Linear | Conv1D) and layer.weight is not getattr(output, "weight", None):
            rows, columns = layer.weight.shape
            factors[id(layer.weight)] = math.sqrt(columns / rows) if isinstance(layer, Conv1D) else 1.0
    return factors
