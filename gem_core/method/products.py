"""float32 matrix products by oneDNN where MKL, which torch asks by itself, leaves half of the processor idle.

MKL keeps to AVX2 on AMD's processors even where they have AVX-512. Measured on one core of an EPYC of family 26 with
shapes of 12 million parameters: MKL 70 to 90 GFLOP/s, oneDNN, which torch carries too, 160 to 210; embedding whole
texts took 0.54 of the time. The numbers are as exact (another order of summation: 1e-7 of an embedding); for a few
rows, as in generation, MKL is quicker and stays. On other processors nothing is changed.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LEAST_ROWS = 16
"""Rows below which MKL's products are quicker."""


def fast_products(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """Within it linear layers compute by whatever is quickest on this machine, in this thread alone.

    Args:
        device: Where the network lies.
        dtype: What its products compute in.
    """
    if device.type == "cpu" and dtype == torch.float32 and _mkl_is_slow():
        return OneDnnProducts()
    return contextlib.nullcontext()


@functools.cache
def _mkl_is_slow() -> bool:
    known = torch.cpu.get_capabilities()
    return (
        "AMD" in str(known.get("cpu_name"))
        and bool(known.get("avx512_f"))
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
    )


class OneDnnProducts(TorchFunctionMode):
    """Lets ``functional.linear`` of float32 tensors on the CPU run on oneDNN, forward and backward."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        """Any torch function; all but the one as ever."""
        return (_linear if func is functional.linear else func)(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input`` [..., I], ``weight`` [O, I], ``bias`` [O] to [..., O]."""
    suits = all(
        part is None or (part.dtype == torch.float32 and part.device.type == "cpu") for part in (input, weight, bias)
    )
    if not suits or weight.ndim != 2 or input.numel() < LEAST_ROWS * weight.shape[1]:
        return functional.linear(input, weight, bias)
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (input, weight, bias)):
        product: Tensor = _Product.apply(input.flatten(end_dim=-2), weight, bias)
        return product.view(*input.shape[:-1], -1)
    return _one_dnn(input, weight, bias)


def _one_dnn(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What torch's own compiler calls for a linear layer on a CPU."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
    return product


class _Product(torch.autograd.Function):
    """[N, I], [O, I], [O] to [N, O] with gradients, such products themselves. Keeps no more than they need."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401
        of_input, of_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(input if of_weight else None, weight if of_input else None)
        return _one_dnn(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (given,) = gradients
        input, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad
        return (
            _one_dnn(given, weight.t()) if of_input else None,
            _of_weight(given, input) if of_weight else None,
            given.sum(dim=0) if of_bias else None,
        )


def _of_weight(given: Tensor, input: Tensor) -> Tensor:
    """[N, O] and [N, I] to [O, I]; a product of few columns, as of an adapter, would take four times as long."""
    if given.shape[1] > input.shape[1]:
        return _one_dnn(input.t(), given.t()).t()
    return _one_dnn(given.t(), input.t())
