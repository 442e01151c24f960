"""The fairest rival: the same base, rows, views, negatives and steps, but no special tokens.

Unsupervised SimCSE (Gao et al. 2021, arXiv 2104.08821) on causal attention with weighted-mean pooling. Its two views
are those of the recipe (token dropout), so that only the read-out and the next-token rows tell it from GEM.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from gem_core.errors import GemError
from gem_core.method.batches import Planner, length_buckets, padded, share
from gem_core.method.data_parallel import gather_rows
from gem_core.method.model import GemModel
from gem_core.method.network import hidden_states, load_network, load_tokenizer, with_adapter
from gem_core.method.objectives import contrastive_loss
from gem_core.method.optimizer import Optimizer
from gem_core.method.precision import computing, product_dtype
from gem_core.method.schedule import learning_rates
from gem_core.recipe.served import served
from gem_core.studies.baselines import pooled

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from gem_core.method.batches import Batch
    from gem_core.method.network import Network
    from gem_core.recipe import Recipe
    from gem_core.sources.models import ResolvedModel
    from gem_core.sources.rows import Rows

POOLING = "weighted-mean"


def train_simcse(
    recipe: Recipe, base: ResolvedModel, rows: Rows, *, report: Callable[[int, float], None] | None = None
) -> GemModel:
    """Post-train a base contrastively, every step of the recipe, at its contrastive learning rate.

    Args:
        recipe: Special tokens and next-token objective mean nothing here.
        base: Resolved and present on this machine.
        rows: Tokenized by the base's tokenizer.
        report: Called with the steps done and the loss.

    Returns:
        The network without special tokens, to be read by :class:`gem_core.studies.baselines.TemplateEncoder`.

    Raises:
        GemError: No source serves views, or a loss that is not finite.
    """
    settings, contrastive = recipe.training, recipe.objective.contrastive
    contrastive = contrastive.model_copy(update={"rows": "all", "dropout_kind": "delete", "bag_of_words": 0.0})
    objective = recipe.objective.model_copy(
        update={"raw_share": 1.0, "contrastive": contrastive, "contrastive_start": 0, "contrastive_ramp": 0}
    )
    if not served(recipe.data, objective).views:
        raise GemError("SimCSE needs a source of data.sources that serves the contrastive loss (use); add one")
    tokenizer = load_tokenizer(base.folder)
    network = load_network(base.folder, dtype=torch.float32, attention=settings.attention)
    if recipe.adaptation.method == "lora":
        network = with_adapter(network, recipe.adaptation, (), seed=recipe.seed, reference=base.reference)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).train()
    model = GemModel(network, tokenizer, special_ids=(), read_out="mean")
    planner = Planner(rows, objective, (), settings.batch_size, recipe.seed, tokenizer.bos_token_id, None)
    log_scale = nn.Parameter(torch.tensor(math.log(contrastive.scale), device=device))
    log_scale.requires_grad_(contrastive.learn_scale)
    trained = {n: p for n, p in [*network.named_parameters(), ("log_scale", log_scale)] if p.requires_grad}
    optimizer = Optimizer(network, trained, settings)
    torch.manual_seed(recipe.seed)
    for step in range(settings.steps):
        batch, loss = planner.batch(step), log_scale.new_zeros(())
        if len(batch.same) > 1:  # else there is nothing to tell a text from
            with computing(device, product_dtype(settings.precision, device)):
                loss = _loss(network, batch, log_scale)
            loss.backward()
        if not math.isfinite(loss.item()):
            raise GemError(f"the loss of SimCSE is no longer finite at step {step + 1}; lower the learning rate")
        nn.utils.clip_grad_norm_(trained.values(), settings.max_gradient_norm)
        optimizer.step(learning_rates(step, settings, objective))
        if log_scale.requires_grad:
            with torch.no_grad():
                log_scale.clamp_(0.0, math.log(contrastive.max_scale))
        if report is not None:
            report(step + 1, loss.item())
    network.eval()
    return model


def _loss(network: Network, batch: Batch, log_scale: Tensor) -> Tensor:
    """Of a batch's views, which end in no special tokens."""
    device, embedded, places = log_scale.device, [], []
    for call in length_buckets(share(batch.views, 0, 1)):
        ids, lengths = (torch.from_numpy(x).to(device) for x in padded([s.tokens for s in call], filler=0))
        states = hidden_states(network, ids).float()
        embedded.append(pooled(states, torch.zeros_like(lengths), lengths, POOLING))
        places += [sequence.index for sequence in call]
    whole = gather_rows(torch.cat(embedded), places, [len(places)])
    first, second = whole.split([len(batch.same), len(whole) - len(batch.same)])
    return contrastive_loss(first, second, log_scale, torch.from_numpy(batch.same).to(device))
