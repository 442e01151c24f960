"""An adapter that acts on every token and reads only what ordinary text leaves unused.

A layer's update ``B A x`` sees its input ``x`` through ``A`` alone. The inputs of ordinary text keep to few directions;
those of special tokens are trained, and may use the others. So ``A`` is confined to the quietest directions that hold
a small share of the energy of ordinary text: that text hardly moves, and special tokens as much as they are taught to::

    energy of ordinary inputs, by direction    # # # = - . . . . . .
                                               left alone | what A reads

Wang et al. 2021 (Adam-NSCL, arXiv 2103.07113) confine updates like this to keep an earlier task, Fang et al. 2024
(AlphaEdit, arXiv 2410.02355) edits of facts. The adapter stays an ordinary LoRA adapter: it merges, and costs nothing.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from gem_core.method import data_parallel
from gem_core.method.network import adapter_off, hidden_states, in_calls
from gem_core.sources.rows import RAW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    from gem_core.sources.rows import Rows, Tokens

TEXTS = 1000
"""Ordinary texts whose inputs are looked at: 20,000 tokens of sentences, for inputs of hundreds or thousands."""


class NullSpace:
    """Confines the trained ``A`` of every layer; after each step of an optimizer, which knows nothing of it.

    Args:
        network: With a LoRA adapter.
        rows: Its raw rows are the ordinary text; all of them where none is raw.
        share: Of the energy of every layer's inputs: what the directions that are read hold together, at most.
    """

    def __init__(self, network: PeftModel, rows: Rows, share: float) -> None:
        texts = sorted(rows.spread(RAW, TEXTS), key=len)  # little padding in a call, and the workers' parts alike
        self.confined = [
            (layer.lora_A["default"].weight, data_parallel.as_first_has(quiet_directions(moments, share)))
            for layer, moments in _second_moments(network, texts).items()
        ]
        """Every ``A``, and the projector onto what it may read."""

    @torch.no_grad()
    def confine(self) -> None:
        """Take out of every ``A`` [r, D], in place, what reads other directions."""
        for weight, projector in self.confined:
            weight.copy_(weight @ projector)


def quiet_directions(moments: Tensor, share: float) -> Tensor:
    """The projector [D, D] onto the directions of least energy that hold together at most ``share`` of it.

    Args:
        moments: Second moments of inputs, [D, D].
        share: From 0 (directions of no energy at all) to 1 (every direction).
    """
    energy, directions = torch.linalg.eigh(moments.double())  # ascending
    held = energy.clamp(min=0).cumsum(dim=0)
    quiet = directions[:, held <= share * held[-1]]
    return (quiet @ quiet.T).float()


def _second_moments(network: PeftModel, texts: Sequence[Tokens]) -> dict[LoraLayer, Tensor]:
    """Of what reaches the adapter's layers in the base, [D, D] each; every worker looks at its part of the texts.

    Every token counts alike, however long its vector is: in many models that of a row's first token is hundreds of
    times longer (massive activations, Sun et al. 2024, arXiv 2402.17762), and would be all that is left alone.
    """
    device = next(network.parameters()).device
    real = torch.empty(0)

    def look(layer: LoraLayer, inputs: tuple[Tensor, ...]) -> None:
        states = functional.normalize(inputs[0][real].float(), dim=-1)
        moments[layer] += states.T @ states

    layers = [layer for layer in network.modules() if "default" in getattr(layer, "lora_A", ())]
    moments = {layer: torch.zeros(2 * (layer.in_features,), device=device) for layer in layers}
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        with torch.no_grad(), adapter_off(network):
            own = itertools.islice(in_calls(texts, device), data_parallel.rank(), None, data_parallel.world())
            for ids, real in own:  # noqa: B007 - the hooks read it
                hidden_states(network, ids)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: data_parallel.summed(seen) for layer, seen in moments.items()}
