"""Lossless mode: a LoRA adapter that acts at the special tokens alone.

For a row ``a b c S T x y`` with special tokens ``S T`` (``*``: base and adapter, ``.``: the base alone)::

          a b c S T x y
          . . . * * . .      every linear layer

The keys and values of ``S T`` are the adapter's: they are the memory that the suffix reads. All else is the base's, so
a text without special tokens has the very logits of the base, and what was computed of it serves its embedding as well.

peft's own activated LoRA (Greenewald et al. 2025, arXiv 2504.12397; ``alora_invocation_tokens``) acts from the first
special token *to the end of the row*: it would move suffixes and pads. So peft's layers get a variant of ours.
The new tokens' rows are kept apart as well: a grown embedding matrix would grow a tied output layer, and one more logit
changes every probability.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor, nn

from gem_core.errors import GemError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from peft import PeftModel


_NOWHERE: tuple[int, Tensor | None] = (0, None)
_passing: ContextVar[tuple[int, Tensor | None]] = ContextVar("_passing", default=_NOWHERE)
"""Of the pass of this thread, since several may run one model at a time: its tokens, and which of them are special."""


class Activation:
    """Where the special tokens of the running forward pass stand; the adapter's layers all ask the same one."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = tuple(ids)

    def note(self, ids: Tensor | None) -> None:
        """Find the special tokens in ids [B, L]; nothing of them, nothing is adapted."""
        if ids is None:
            _passing.set(_NOWHERE)
            return
        places = torch.isin(ids, torch.tensor(self._ids, device=ids.device)).flatten().nonzero()[:, 0]
        _passing.set((ids.numel(), places if len(places) else None))

    def places(self, tokens: int) -> Tensor | None:
        """Their places among all tokens of the batch, [n], or None.

        Raises:
            GemError: A layer is given other tokens than the network (as a mixture of experts does).
        """
        known, places = _passing.get()
        if places is not None and tokens != known:
            raise GemError("the architecture regroups its tokens between layers; set adaptation.scope to all")
        return places

    def checkpointed(self) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        """For ``torch.utils.checkpoint``: a layer that is computed again finds the tokens it was first given."""
        return contextlib.nullcontext(), _again(_passing.get())


@contextlib.contextmanager
def _again(passed: tuple[int, Tensor | None]) -> Iterator[None]:
    token = _passing.set(passed)
    try:
        yield
    finally:
        _passing.reset(token)


class AtSpecialTokens(LoraVariant):
    """What a LoRA layer adds where: peft asks a layer's variant for the result instead of adding the update itself."""

    def __init__(self, activation: Activation) -> None:
        self._activation = activation

    def forward(self, module: Any, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:  # noqa: ANN401
        """The base's ``result`` [B, L, D], with the update added at the special tokens, the only ones it is made of."""
        places = self._activation.places(x.shape[:-1].numel())
        if places is None:
            return result
        chosen = module.lora_dropout[active_adapter](x.reshape(-1, x.shape[-1])[places])
        update = module.lora_B[active_adapter](module.lora_A[active_adapter](chosen)) * module.scaling[active_adapter]
        flat = result.reshape(-1, result.shape[-1])
        return flat.index_add_(0, places, update.to(flat.dtype)).view_as(result)


class SpecialEmbedding(nn.Module):
    """The base's embedding layer, untouched, and rows of its own for the special tokens."""

    def __init__(self, base: nn.Module, ids: Sequence[int], rows: Tensor) -> None:
        super().__init__()
        self.base = base
        self._ids = tuple(ids)
        self.special_rows = nn.Parameter(rows)

    @property
    def weight(self) -> Tensor:
        """The base's matrix, to which an output layer may be tied."""
        return self.base.get_parameter("weight")

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [B, L] to embeddings [B, L, D]."""
        number = ids - self._ids[0]
        special = (number >= 0) & (number < len(self._ids))
        embedded: Tensor = self.base(ids.masked_fill(special, 0))
        if not special.any():
            return embedded
        scale = getattr(self.base, "embed_scale", 1.0)  # Gemma's layer multiplies by it
        rows = (self.special_rows * scale).to(embedded.dtype)
        return embedded.index_put((special,), rows[number[special]])


def activate(adapted: PeftModel, ids: Sequence[int], rows: Tensor) -> None:
    """Confine an adapter to the special tokens and give them their rows, in place.

    Args:
        adapted: A causal language model with a LoRA adapter, its embedding matrix as the base has it.
        ids: The special tokens, consecutive.
        rows: Their embeddings, [k, D].
    """
    model = adapted.get_base_model()
    activation = Activation(ids)
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.lora_variant[adapted.active_adapter] = AtSpecialTokens(activation)
    embedding = model.get_input_embeddings()
    model.set_input_embeddings(SpecialEmbedding(embedding, ids, rows.to(embedding.weight)))
    decoder = model.get_decoder()
    decoder.register_forward_pre_hook(
        lambda _, args, named: activation.note(named.get("input_ids", args[0] if args else None)), with_kwargs=True
    )
    decoder.register_forward_hook(lambda *_: activation.note(None), always_call=True)
    adapted.activation = activation


def special_rows(adapted: PeftModel) -> nn.Parameter:
    """The embeddings of the special tokens, [k, D]."""
    layer = adapted.get_base_model().get_input_embeddings()
    assert isinstance(layer, SpecialEmbedding)  # noqa: S101 - for the type checker: only adapters of ours are asked
    return layer.special_rows
