"""How far a trained model's language is from its base's, in nats a token: what an embedding has cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gem_core.method.network import causal_lm, hidden_states, in_calls, load_network, output_layer
from gem_core.method.objectives import divergence
from gem_core.sources.rows import RAW

if TYPE_CHECKING:
    from torch import Tensor

    from gem_core.method.model_parts import ModelParts
    from gem_core.sources.models import ResolvedModel
    from gem_core.sources.rows import Rows

TEXTS = 400


@torch.inference_mode()
def drift(model: ModelParts, base: ResolvedModel, rows: Rows) -> float:
    """The mean KL divergence of next-token distributions, base from model, over some ordinary texts without specials.

    Distributions are over the base's own tokens. Unlike the loss of that name it can be had of any training, weighted
    or not, and by the same texts for all.

    Args:
        model: Trained from the base.
        base: What it was.
        rows: The texts: raw rows, or any where there is none.
    """
    network, other = model.network, load_network(base.folder, dtype=torch.float32).to(model.device).eval()
    vocabulary = int(causal_lm(other).get_input_embeddings().weight.shape[0])
    head, base_head = output_layer(network), output_layer(other)

    def known(states: Tensor) -> Tensor:
        return head(states)[:, :vocabulary]

    total, count = 0.0, 0
    for ids, real in in_calls(rows.spread(RAW, TEXTS), model.device):
        ours, theirs = (hidden_states(each, ids)[real] for each in (network, other))
        total += float(divergence(ours, theirs, known, base_head, vocabulary))
        count += len(ours)
    return total / max(1, count)
