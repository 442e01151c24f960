"""What a LoRA adapter costs in products: its two matrices beside the base's, or multiplied out into it once a step.

A layer has ``size = in * out`` weights, its adapter of rank r ``r * ends``, ``ends = in + out``. A product of a matrix
with a token costs two FLOPs a weight, forwards, for the token's gradient and for the weights'::

    beside it        every token  4 size + 6 r ends           (the base's own weights take no gradient)
    multiplied out   every token  6 size, once a step  6 r size
"""

from __future__ import annotations

import math


def folding_pays(rank: int, inputs: int, outputs: int, tokens: float = math.inf) -> bool:
    """Whether it makes fewer products to multiply the adapter out, in a step of so many tokens."""
    size, ends = inputs * outputs, inputs + outputs
    return 3 * rank * (ends - size / max(tokens, 1)) > size


def flops_a_token(rank: int, inputs: int, outputs: int, *, folds: bool = True) -> int:
    """FLOPs for each token of a step of many, forwards and backwards, beyond the base's own four a weight.

    Args:
        rank: Of the adapter.
        inputs: Of the layer.
        outputs: Of the layer.
        folds: Whether it is multiplied out where that pays.
    """
    if folds and folding_pays(rank, inputs, outputs):
        return 2 * inputs * outputs
    return 6 * rank * (inputs + outputs)
