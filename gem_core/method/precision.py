"""What a training computes in; weights and optimizer state stay float32 whatever it is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator


def product_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """What matrix products compute in, for a recipe's ``training.precision``; None for float32."""
    if precision == "auto":
        fast = device.type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16", False)
        return torch.bfloat16 if fast else None
    return torch.bfloat16 if precision == "bfloat16" else None


@contextlib.contextmanager
def computing(device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    """Forward and backward passes with products in ``dtype``.

    The CPU's fused attention makes many tiny bfloat16 products one by one, slower for rows of tens of tokens than the
    plain composition of two batched ones (a step of the sandbox: 0.49 s instead of 0.59 s).
    """
    with contextlib.ExitStack() as stack:
        if dtype is not None:
            stack.enter_context(torch.autocast(device.type, dtype))
            if device.type == "cpu":
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


@contextlib.contextmanager
def without_gradient(device: torch.device) -> Iterator[None]:
    """A pass through which nothing runs back, within :func:`computing` or not.

    There the CPU's fused attention is the quicker one, two to four times (48 rows of 59 tokens: 5.9 against 20.7 ms).
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if device.type == "cpu":
            stack.enter_context(sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]))
        yield
