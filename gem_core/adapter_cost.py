"""What a LoRA adapter costs in products: its two matrices beside the base's, or multiplied out into it once a step.

A layer has ``size = in * out`` weights, its adapter of rank r ``r * ends``, ``ends = in + out``. A product of a matrix
with a token costs two FLOPs a weight, forwards, for the token's gradient and for the weights'::

    beside it        every token  4 size + 6 r ends           (the base's own weights take no gradient)
    multiplied out   every token  6 size, once a step  6 r size
"""

from __future__ import annotations


def folding_pays(rank: int, inputs: int, outputs: int, tokens: int | None = None) -> bool:
    """Whether it makes fewer products to multiply the adapter out.

    Args:
        rank: Of the adapter.
        inputs: Of the layer.
        outputs: Of the layer.
        tokens: In the step; None for so many that what is done once a step does not count.
    """
    size = inputs * outputs
    saved = 3 * rank * (inputs + outputs) - size  # for each token
    return saved > 0 if tokens is None else saved * tokens > 3 * rank * size


def flops_a_token(rank: int, inputs: int, outputs: int, *, folds: bool = True) -> int:
    """FLOPs for each token of a step of many, forwards and backwards, beyond the base's own four a weight.

    Args:
        rank: Of the adapter.
        inputs: Of the layer.
        outputs: Of the layer.
        folds: Whether it is multiplied out where that pays.
    """
    beside = 6 * rank * (inputs + outputs)
    return min(beside, 2 * inputs * outputs) if folds else beside
