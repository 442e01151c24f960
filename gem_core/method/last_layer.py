"""The last decoder layer computed for the tokens that are read, and for no other.

Its keys and values are made of all tokens; queries, output and feed-forward part of one token are of no use to another.
Five sixths of a Llama's last layer are spared.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

TOKEN_WISE = ("q_proj", "o_proj", "mlp")
"""Parts of a decoder layer that read one token each, by the names transformers gives them in most architectures."""

_reading: ContextVar[Tensor | None] = ContextVar("_reading", default=None)
"""The tokens that the pass of this thread reads: several may run one model at a time."""


def last_tokens(lengths: Tensor, count: int, width: int) -> Tensor:
    """The last ``count`` tokens of right-padded rows of these lengths [B]: true there, [B, L]."""
    position = torch.arange(width, device=lengths.device)
    return (position >= lengths[:, None] - count) & (position < lengths[:, None])


@contextlib.contextmanager
def reading_only(where: Tensor | None, model: PreTrainedModel) -> Iterator[None]:
    """Let the last layer compute its token-wise parts for some tokens alone.

    The states of these are those of the whole pass; the others are meaningless, the cache is whole. A part of another
    name, one that returns more than a tensor, or one with an adapter that is on and not merged (which may act by
    position) is computed as ever.

    Args:
        where: The tokens, [B, L]; None: all are read.
        model: A transformers causal language model.
    """
    layer = None if where is None else _last_layer(model)
    if where is None or layer is None:
        yield
        return
    parts = [part for name, part in layer.named_modules() if name.rpartition(".")[2] in TOKEN_WISE]
    hooks = [hook for part in parts if not _adapted(part) for hook in _spared(part, where)]
    token = _reading.set(where)
    try:
        yield
    finally:
        _reading.reset(token)
        for hook in hooks:
            hook.remove()


def _last_layer(model: PreTrainedModel) -> nn.Module | None:
    """The last decoder layer, where the architecture keeps a list of them; None elsewhere."""
    decoder = model.get_decoder()
    for name in ("layers", "h"):
        layers = getattr(decoder, name, None)
        if isinstance(layers, nn.ModuleList) and len(layers):
            return layers[-1]
    return None


def _adapted(part: nn.Module) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = (layer for layer in part.modules() if isinstance(layer, BaseTunerLayer))
    return any(not layer.merged and not layer.disable_adapters for layer in layers)


def _spared(part: nn.Module, where: Tensor) -> list[RemovableHandle]:
    def choose(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if _reading.get() is not where or not inputs or inputs[0].shape[:2] != where.shape:
            return None
        return (inputs[0][where][None], *inputs[1:])  # [1, N, D]

    def spread(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:  # noqa: ANN401 - a module's own
        if _reading.get() is not where or not isinstance(output, Tensor) or output.shape[:2] == where.shape:
            return None
        whole = output.new_zeros(*where.shape, output.shape[-1])
        whole[where] = output[0]
        return whole

    return [part.register_forward_pre_hook(choose), part.register_forward_hook(spread)]
