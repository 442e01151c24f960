"""First values of an adapter under which the special tokens look at a whole text.

A base's queries put nearly all attention on a text's first token (an attention sink: Xiao et al. 2024, arXiv
2309.17453), so that a new token at the end learns of the others late, if at all. Queries scaled down look at every
token alike, and training starts from an average over the text.

The scaling is the adapter's, ``W + B A`` with ``B A = (scale - 1) W``: whole where its rank is that of the matrix, else
along W's largest directions. A query's bias stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from peft.tuners.lora import LoraLayer

from gem_core.errors import GemError

if TYPE_CHECKING:
    from peft import PeftModel

NAMES = ("q_proj", "qkv_proj", "c_attn")
"""Of query layers: alone; fused with keys and values behind them (Phi-3); likewise (GPT-2)."""


@torch.no_grad()
def scale_queries(adapted: PeftModel, scale: float) -> None:
    """Set a fresh adapter so that it multiplies every query with ``scale``, in place.

    Raises:
        GemError: An architecture whose queries are not found, or are normalised, which undoes a scale.
    """
    model, name = adapted.get_base_model(), adapted.active_adapter
    found = [(place, layer) for place, layer in model.named_modules() if place.rsplit(".", 1)[-1] in NAMES]
    if not found or any(place.endswith("q_norm") for place, _ in model.named_modules()):
        reason = "normalises its queries" if found else "keeps its queries in layers of other names"
        raise GemError(f"{model.config.model_type} {reason}; set adaptation.query_scale=1")
    config = model.config
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    queries = config.num_attention_heads * head_size
    for _, layer in found:
        assert isinstance(layer, LoraLayer)  # noqa: S101 - for the type checker: every linear layer is adapted
        base, (down, up) = layer.get_base_layer(), (layer.lora_A[name], layer.lora_B[name])
        weight = base.weight.T if layer.fan_in_fan_out else base.weight
        change = torch.zeros_like(weight)
        change[:queries] = (scale - 1) * weight[:queries]
        left, sizes, right = torch.linalg.svd(change.float(), full_matrices=False)
        rank = min(len(sizes), len(down.weight))
        root = sizes[:rank].sqrt()
        down.weight[:rank] = (root[:, None] * right[:rank]).to(down.weight)
        up.weight[:, :rank] = (left[:, :rank] * root / layer.scaling[name]).to(up.weight)
