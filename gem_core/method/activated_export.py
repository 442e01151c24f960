"""An activated adapter in terms that other libraries know.

A row that ends in its special tokens ends where the adapter acts. So for embedding, peft's own activated LoRA, which
acts from the first special token to the end of the row, does what ours does. Where text follows the special tokens
(decompression) it does not.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from peft import get_peft_model
from peft.tuners.lora import LoraLayer

from gem_core.method.activated_adapter import SpecialEmbedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel


def updates(adapted: PeftModel) -> dict[str, tuple[Tensor, Tensor]]:
    """What the adapter adds at special tokens, by the name of the layer in the decoder.

    Returns:
        The two factors of each update, [r, in] and [out, r], the second one scaled.
    """
    name = adapted.active_adapter
    return {
        place: (layer.lora_A[name].weight.detach(), layer.lora_B[name].weight.detach() * layer.scaling[name])
        for place, layer in adapted.get_base_model().get_decoder().named_modules()
        if isinstance(layer, LoraLayer)
    }


def base_with_rows(adapted: PeftModel, ids: Sequence[int]) -> PreTrainedModel:
    """The base with the special tokens' rows in its embedding matrix, which grows if need be; ``adapted`` is used up.

    A tied output layer grows with it: this is for embedding, and no longer the base's language model to the last bit.
    """
    model: PreTrainedModel = adapted.unload()
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, SpecialEmbedding)  # noqa: S101 - for the type checker: only adapters of ours are asked
    model.set_input_embeddings(embedding.base)
    if embedding.weight.shape[0] <= max(ids):
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[list(ids)] = embedding.special_rows.to(embedding.weight)
    return model


def as_peft(adapted: PeftModel, ids: Sequence[int]) -> PeftModel:
    """The adapter as peft's activated LoRA, invoked by the special tokens; ``adapted`` is used up."""
    settings = copy.deepcopy(adapted.peft_config[adapted.active_adapter])
    settings.alora_invocation_tokens = list(ids)
    settings.trainable_token_indices = list(ids)
    factors = {name: factor.detach() for name, factor in adapted.named_parameters() if "lora_" in name}
    activated = get_peft_model(base_with_rows(adapted, ids), settings, autocast_adapter_dtype=False)
    activated.load_state_dict(factors, strict=False)
    return activated
