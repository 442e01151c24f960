"""The training loop: knows a process group, not who made it; knows steps, not where they are logged.

Every worker runs :func:`train` with equal arguments. Only rank 0 writes: checkpoints, and the model in the end.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from gem_core.errors import GemError
from gem_core.identity import content_digest
from gem_core.method import checkpoints, data_parallel
from gem_core.method.attention_mask import check_backend, for_network
from gem_core.method.bag_of_words import word_vectors
from gem_core.method.batches import Planner
from gem_core.method.model import GemModel
from gem_core.method.network import causal_lm, check_output_layer, checkpoint_activations, hidden_states
from gem_core.method.null_space import NullSpace
from gem_core.method.optimizer import Optimizer
from gem_core.method.precision import computing, product_dtype
from gem_core.method.schedule import contrastive_share, learning_rates, weights
from gem_core.method.step import StepRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from gem_core.recipe import Recipe
    from gem_core.sources.models import ResolvedModel
    from gem_core.sources.rows import Rows

METRICS = {
    "next_token": "next_token_loss",
    "contrastive": "contrastive_loss",
    "bag_of_words": "bag_of_words_loss",
    "divergence": "language_divergence",
}
"""The losses that :class:`~gem_core.method.schedule.Weights` weighs, and what each is logged as."""


@dataclass(frozen=True)
class StepReport:
    """What every worker reports after each step."""

    step: int
    """Steps done."""
    steps: int
    """Steps in all."""
    metrics: dict[str, float]
    """Over the whole global batch; a loss that weighed nothing was not computed and is left out."""
    checkpoint: Path | None
    """On rank 0, when one is due: a temporary folder to move or copy; what is left of it is removed."""


@dataclass(frozen=True)
class TrainingResult:
    """What is left when the training is done, besides the model."""

    steps: int
    seconds: float
    """Wall time of the loop alone."""
    tokens: int
    """Read by the network in this process's life, over all workers."""
    digest: str
    """Content digest of the model folder."""
    final: dict[str, float]
    """The last step's metrics."""


def train(
    recipe: Recipe,
    base: ResolvedModel,
    rows: Rows,
    *,
    report: Callable[[StepReport], None],
    checkpoint: Path | None = None,
    output: Path,
) -> TrainingResult:
    """Post-train ``base`` by the recipe and save the model to ``output``.

    With a default process group its workers share every batch; without one this process does all of it. The result
    does not depend on their number beyond rounding, nor on where a run was interrupted: a run resumed from a
    checkpoint ends, on the same machine with the same workers, with the very weights of an unbroken one.

    Args:
        recipe: All of it but ``evaluation``, ``gates`` and ``resources`` counts here.
        base: Resolved and present on this machine.
        rows: Tokenized by the base's tokenizer.
        report: Called after every step, on every worker.
        checkpoint: A folder once reported, to continue from.
        output: The model folder; replaced if it exists.

    Raises:
        GemError: Too few or too long rows, a backend that misreads the mask, a checkpoint of another run or one that
            cannot be written, or a loss that is not finite (nothing is written after it).
    """
    trainer = _Trainer(recipe, base, rows)
    done = 0 if checkpoint is None else trainer.resume(checkpoint)
    started, tokens, metrics = time.monotonic(), 0, dict[str, float]()
    for step in range(done, recipe.training.steps):
        metrics = trainer.step(step)
        tokens += int(metrics.pop("tokens"))
        trainer.report(step + 1, metrics, report)
    seconds = time.monotonic() - started
    digest = None
    if data_parallel.rank() == 0:
        trainer.model.save(output, recipe=recipe.shaping())
        digest = content_digest(output)
    return TrainingResult(recipe.training.steps, seconds, tokens, data_parallel.from_first(digest), metrics)


class _Trainer:
    """The state of a run: weights, optimizer, logit scale."""

    def __init__(self, recipe: Recipe, base: ResolvedModel, rows: Rows) -> None:
        self._recipe = recipe
        self._run = {
            "training": recipe.training_digest(),
            "base": base.digest,
            "rows": f"{len(rows)}/{int(rows.lengths.sum())}",
        }
        settings, contrastive = recipe.training, recipe.objective.contrastive
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        if settings.attention == "flex_attention" and device.type != "cuda":
            raise GemError(
                "torch's flex_attention has no backward pass on CPUs; set training.attention to sdpa or eager"
            )
        self.model = GemModel.from_base(
            base,
            special_tokens=recipe.special_tokens,
            adaptation=recipe.adaptation,
            seed=recipe.seed,
            attention=settings.attention,
        )
        network = self.model.network.to(device).train()
        if settings.gradient_checkpointing:
            checkpoint_activations(network)
        autocast = product_dtype(settings.precision, device)
        self._log_scale = nn.Parameter(
            torch.tensor(math.log(contrastive.scale), device=device), requires_grad=contrastive.learn_scale
        )
        self._trained: dict[str, nn.Parameter] = {n: p for n, p in network.named_parameters() if p.requires_grad}
        if contrastive.learn_scale:
            self._trained["log_scale"] = self._log_scale
        self._optimizer = Optimizer(network, self._trained, settings)
        self._null_space = self._confinement(rows)
        self._planner = _planner(recipe, rows, self.model)
        self._runner = StepRunner(
            self.model, recipe.objective, settings, self._log_scale, autocast, self._word_vectors(rows)
        )
        self._self_test(autocast)

    def _word_vectors(self, rows: Rows) -> torch.Tensor | None:
        if self._recipe.objective.contrastive.bag_of_words == 0:
            return None
        embeddings = causal_lm(self.model.network).get_input_embeddings().weight
        return word_vectors(embeddings, torch.from_numpy(rows.frequencies(len(embeddings))).to(embeddings.device))

    def _confinement(self, rows: Rows) -> NullSpace | None:
        share = self._recipe.adaptation.null_space
        if share is None:
            return None
        found = NullSpace(self.model.network, rows, share)
        found.confine()
        return found

    def _self_test(self, autocast: torch.dtype | None) -> None:
        network, device, dtype = self.model.network, self.model.device, autocast or torch.float32
        model, known = causal_lm(network), min(self.model.special_ids)
        network.eval()
        with computing(device, autocast):
            if self._recipe.needs_mask:
                check_backend(
                    lambda ids, mask: hidden_states(network, ids.to(device), mask),
                    lambda seen: for_network(model.config, seen.to(device), dtype),
                    ids=self.model.special_ids,
                    vocabulary=known,
                    blind=self.model.blind,
                    bottleneck=self._recipe.objective.bottleneck,
                )
            check_output_layer(network, known)
        network.train()

    def resume(self, folder: Path) -> int:
        """Continue from a checkpoint; returns the steps done."""
        return checkpoints.read(folder, run=self._run, weights=self._trained, optimizer=self._optimizer)

    def step(self, step: int) -> dict[str, float]:
        """Take a step and return its metrics, over all workers."""
        started = time.monotonic()
        recipe, rank = self._recipe, data_parallel.rank()
        if recipe.adaptation.dropout > 0:  # else nothing random is left in a step but its plan
            torch.manual_seed(int(np.random.SeedSequence([recipe.seed, 2, step, rank]).generate_state(1)[0]))
        rates = learning_rates(step, recipe.training, recipe.objective)
        weigh = weights(step, recipe.objective)
        part = self._runner.run(self._planner.batch(step), weigh)
        parameters = list(self._trained.values())
        values = torch.tensor([*(getattr(part, name) for name in METRICS), part.tokens], device=self._log_scale.device)
        *found, tokens = data_parallel.sum_gradients(parameters, values).tolist()
        norm = float(nn.utils.clip_grad_norm_(parameters, recipe.training.max_gradient_norm))
        losses = dict(zip(METRICS, found, strict=True))
        loss = sum(getattr(weigh, name) * value for name, value in losses.items())
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise GemError(
                f"the loss is no longer finite at step {step + 1} (loss {loss}, gradient norm {norm}); "
                "the last checkpoint is kept: lower training's learning rates or max_gradient_norm"
            )
        self._optimizer.step(rates)
        if self._null_space is not None:
            self._null_space.confine()
        if self._log_scale.requires_grad:
            with torch.no_grad():
                self._log_scale.clamp_(0.0, math.log(recipe.objective.contrastive.max_scale))
        metrics = {
            "loss": loss,
            "alpha": contrastive_share(step, recipe.objective),
            "learning_rate": rates.adamw,
            "gradient_norm": norm,
            "logit_scale": float(self._log_scale.detach().exp()),
            "tokens": tokens,
            "tokens_per_second": tokens / (time.monotonic() - started),
        }
        return metrics | {METRICS[name]: value for name, value in losses.items() if getattr(weigh, name) > 0}

    def report(self, done: int, metrics: dict[str, float], report: Callable[[StepReport], None]) -> None:
        """Report a step, on rank 0 with a checkpoint when one is due."""
        steps = self._recipe.training.steps
        due = done % self._recipe.training.checkpoint_every == 0 or done == steps
        if due:
            self._optimizer.gather()
        if not due or data_parallel.rank() != 0:
            report(StepReport(done, steps, metrics, None))
            return
        folder = Path(tempfile.mkdtemp(prefix="gem-checkpoint-"))
        try:
            checkpoints.write(folder, step=done, run=self._run, weights=self._trained, optimizer=self._optimizer)
            report(StepReport(done, steps, metrics, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _planner(recipe: Recipe, rows: Rows, model: GemModel) -> Planner:
    if len(rows) < 2:
        raise GemError(
            f"{len(rows)} training row(s): contrastive learning needs other rows to tell a text from; add data"
        )
    longest, limit = int(rows.lengths.max()) + model.k, model.max_positions
    if limit is not None and longest > limit:
        raise GemError(
            f"the longest row has {longest} tokens with its special tokens, the base model takes {limit}; "
            f"set data.max_length to {limit - model.k} or less"
        )
    sizes = recipe.objective.contrastive.dimensions
    if sizes and max(sizes) >= model.dimension:
        raise GemError(
            f"objective.contrastive.dimensions holds {max(sizes)}, an embedding has {model.dimension} numbers; "
            "give smaller sizes"
        )
    tokenizer = model.tokenizer
    planner = Planner(
        rows=rows,
        objective=recipe.objective,
        special_ids=model.special_ids,
        batch_size=recipe.training.batch_size,
        seed=recipe.seed,
        first_token=tokenizer.bos_token_id,
        max_positions=limit,
    )
    planner.check()
    return planner


__all__ = ["StepReport", "TrainingResult", "train"]
