"""A LoRA adapter of high rank, multiplied out once a step instead of at every token.

A layer with an adapter computes ``W x + s B A x``: a token goes through three matrices forwards and, with what their
gradients take, through eight in all. With ``V = W + s B A`` it goes through one, and through three; gradients of
``V``, added up over the step's tokens, then go on to ``A`` and ``B`` once::

    every token    V x, and backwards dx, dV
    every step     s B A, and backwards dA = s B' dV, dB = s dV A'

That is less work where the rank is above a sixth of a square matrix's size and a step has many tokens
(:mod:`gem_core.adapter_cost`). It is the same function and the same gradients, beyond rounding; a second matrix of the
base's size is held meanwhile.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn

from gem_core.adapter_cost import folding_pays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gem_core.method.network import Network

NAME = "default"
"""What peft calls the one adapter there is."""


class FoldedAdapter:
    """The layers of a network whose adapter can be multiplied out: those with one of plain LoRA, without dropout."""

    def __init__(self, network: Network) -> None:
        self._layers = [layer for layer in network.modules() if isinstance(layer, Linear) and _is_plain(layer)]

    @contextlib.contextmanager
    def folded(self, tokens: int, dtype: torch.dtype | None = None) -> Iterator[None]:
        """A step of so many tokens: gradients found within are the adapter's at its end.

        Where peft's adapter is switched off meanwhile, its layers are the base's as ever.

        Args:
            tokens: How many go forwards and backwards; where they are few, layers stay as they are.
            dtype: What products compute in; None for the weights' own.
        """
        layers = [x for x in self._layers if folding_pays(x.r[NAME], x.in_features, x.out_features, tokens)]
        products = [layer.get_base_layer().weight + layer.get_delta_weight(NAME) for layer in layers]
        folded = [product.detach().requires_grad_() for product in products]
        try:
            for layer, weight in zip(layers, folded, strict=True):
                layer.forward = _forward(layer, weight if dtype is None else weight.to(dtype))
            yield
        finally:
            for layer in layers:
                layer.__dict__.pop("forward", None)  # the class's own again
        reached = [
            (product, leaf.grad) for product, leaf in zip(products, folded, strict=True) if leaf.grad is not None
        ]
        if reached:
            torch.autograd.backward([product for product, _ in reached], [gradient for _, gradient in reached])


def _is_plain(layer: Linear) -> bool:
    return (
        list(layer.lora_A) == [NAME]
        and not layer.lora_variant
        and not layer.lora_bias[NAME]
        and isinstance(layer.lora_dropout[NAME], nn.Identity)
    )


def _forward(layer: Linear, weight: Tensor) -> Callable[..., Tensor]:
    base = layer.get_base_layer()

    def forward(x: Tensor) -> Tensor:
        if layer.disable_adapters:
            return base(x)
        return torch.func.functional_call(base, {"weight": weight}, (x,))

    return forward
