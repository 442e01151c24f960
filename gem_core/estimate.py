"""What a run will need, before anything is spent: from the weights' headers and the recipe, without loading weights.

The figures are rough where they have to be (activations to a factor of two, hours by an assumed speed) and exact where
they can be (parameters, optimizer state, steps). They are there to refuse what cannot fit and to warn of what takes a
week.

Compute follows the usual count (Kaplan et al. 2020, arXiv 2001.08361, section 2.1): 2 N FLOPs a token forward, 4 N
backward, so 6 N T for full training; with LoRA the gradients of the frozen weights are not made, which leaves 4 N T and
what the adapter itself takes (:mod:`gem_core.adapter_cost`).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gem_core.adapter_cost import flops_a_token, folding_pays
from gem_core.base_checks import read_config
from gem_core.errors import GemError

if TYPE_CHECKING:
    from gem_core.recipe import Recipe
    from gem_core.sources.models import ResolvedModel

FLOPS_A_CPU = 3e10
"""Assumed sustained float32 FLOP/s of one CPU core in training."""
FLOPS_A_GPU = 1.2e14
"""Assumed sustained bfloat16 FLOP/s of one data-centre GPU: 40 % of an A100's peak, an eighth of an H100's."""
EMBEDDING_NAMES = ("embed", "wte", "wpe", "lm_head")
"""Parts of the names of matrices that LoRA leaves alone: embeddings and the output layer."""
BYTES_FLOAT32 = 4
ADAMW_BYTES, MUON_BYTES = 8, 4
"""Two float32 moments a trained parameter; one."""
ACTIVATION_BYTES_A_LAYER = 34
"""Bytes a token and hidden unit that a layer keeps for the backward pass in 16 bits (Korthikanti et al. 2022,
arXiv 2205.05198, equation 1, without the attention matrix, which fused attention does not keep)."""
LOGIT_BYTES = 2**27
"""One chunk of logits: :mod:`gem_core.method.objectives` computes the loss in chunks of that size."""


@dataclass(frozen=True)
class Estimate:
    """What a run needs."""

    parameters: int
    """Of the base model."""
    trainable: int
    """Of them and of the adapter, those that move."""
    memory_bytes: int
    """One worker: weights, gradients, optimizer state, activations."""
    workers: int
    steps: int
    tokens: int
    """Text tokens that pass the network, counting each row once."""
    epochs: float | None
    """Passes over the rows; None where their number is not known."""
    flops: float
    hours: float
    """At the assumed speed."""
    flops_per_second: float
    """The assumed speed, all workers."""

    def refusal(self, limit: int | None, *, workers_share: bool = True) -> GemError | None:
        """Why this cannot run in a memory of ``limit`` bytes; None when it fits or nothing is known.

        Args:
            limit: Bytes of the machine, or of one GPU.
            workers_share: True when all workers run in that one memory (CPUs of one machine).
        """
        need = self.memory_bytes * (self.workers if workers_share else 1)
        if limit is None or need <= limit:
            return None
        return GemError(
            f"the training needs about {_gib(need)} of memory, there is {_gib(limit)}: lower training.batch_size, "
            "data.max_length or resources.workers, set training.gradient_checkpointing, or choose a smaller base model"
        )


def estimate(
    recipe: Recipe,
    base: ResolvedModel,
    *,
    rows: int | None = None,
    mean_length: float | None = None,
    flops_per_second: float | None = None,
) -> Estimate:
    """Estimate a recipe's training.

    Args:
        recipe: What is to be run.
        base: The model it starts from.
        rows: Training rows, once they are known.
        mean_length: Tokens a row; the recipe's limit when not known, which is the most it can be.
        flops_per_second: Measured speed of one worker, instead of the assumed.

    Raises:
        GemError: The base's weights or configuration cannot be read.
    """
    shapes = tensor_shapes(base.folder)
    config = read_config(base.folder, base.reference)
    hidden = _hidden_size(config, base)
    layers = int(config.get("num_hidden_layers") or config.get("n_layer") or 1)
    vocabulary = int(config.get("vocab_size") or 0)
    parameters = sum(math.prod(shape) for shape in shapes.values())
    trainable = trainable_parameters(recipe, shapes, hidden)
    kept = optimizer_bytes(recipe, shapes, hidden) + projector_bytes(recipe, shapes) + folded_bytes(recipe, shapes)
    resources, training = recipe.resources, recipe.training
    length = min(mean_length or recipe.data.max_length, recipe.data.max_length)
    tokens = int(training.steps * training.batch_size * length)
    flops = _flops_a_token(recipe, parameters, shapes) * tokens
    speed = flops_per_second or (
        FLOPS_A_GPU * resources.gpus_per_worker
        if resources.gpus_per_worker
        else FLOPS_A_CPU * resources.cpus_per_worker
    )
    speed *= resources.workers
    return Estimate(
        parameters=parameters,
        trainable=trainable,
        memory_bytes=_memory(recipe, parameters, trainable, kept, hidden, layers, vocabulary),
        workers=resources.workers,
        steps=training.steps,
        tokens=tokens,
        epochs=training.steps * training.batch_size / rows if rows else None,
        flops=flops,
        hours=flops / speed / 3600,
        flops_per_second=speed,
    )


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a model folder, from the headers of its safetensors files.

    Raises:
        GemError: A file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 - not a dict: it has no iterator
                    shapes[name] = tuple(file.get_slice(name).get_shape())
        except SafetensorError as error:
            raise GemError(f"{path.name} in {folder} is damaged ({error}): fetch the model again") from error
    return shapes


def trainable_parameters(recipe: Recipe, shapes: dict[str, tuple[int, ...]], hidden: int) -> int:
    """Parameters that move: everything and the k new rows, or the adapter and the k new rows.

    LoRA adds ``rank * (in + out)`` to every linear layer but the output's.
    """
    new_rows = recipe.special_tokens.count * hidden
    if recipe.adaptation.method == "full":
        return sum(math.prod(shape) for shape in shapes.values()) + new_rows
    return _linear_parameters(recipe, shapes) + new_rows


def optimizer_bytes(recipe: Recipe, shapes: dict[str, tuple[int, ...]], hidden: int) -> int:
    """What the optimizers remember: AdamW two moments, Muon one of the weights of linear layers that it is given."""
    trainable = trainable_parameters(recipe, shapes, hidden)
    muon = _linear_parameters(recipe, shapes) if recipe.training.muon is not None else 0
    return muon * MUON_BYTES + (trainable - muon) * ADAMW_BYTES


def projector_bytes(recipe: Recipe, shapes: dict[str, tuple[int, ...]]) -> int:
    """What ``adaptation.null_space`` keeps: a square of every linear layer's inputs, [out, in] being its shape."""
    if recipe.adaptation.null_space is None:
        return 0
    return sum(shape[1] ** 2 for shape in _linear(shapes)) * BYTES_FLOAT32


def folded_bytes(recipe: Recipe, shapes: dict[str, tuple[int, ...]]) -> int:
    """What a step of many tokens holds of an adapter multiplied out: the layers' weights and their gradients."""
    if not _folds(recipe):
        return 0
    folded = (shape for shape in _linear(shapes) if folding_pays(recipe.adaptation.rank, *shape))
    return 2 * BYTES_FLOAT32 * sum(math.prod(shape) for shape in folded)


def _folds(recipe: Recipe) -> bool:
    """Whether :mod:`gem_core.method.folded_adapter` may multiply the adapter out."""
    adaptation = recipe.adaptation
    return adaptation.method == "lora" and adaptation.scope == "all" and adaptation.dropout == 0


def _linear(shapes: dict[str, tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The shapes of linear layers but the output's."""
    return [
        shape
        for name, shape in shapes.items()
        if len(shape) == 2 and name.endswith("weight") and not any(part in name for part in EMBEDDING_NAMES)
    ]


def _linear_parameters(recipe: Recipe, shapes: dict[str, tuple[int, ...]]) -> int:
    """Trained weights of linear layers but the output's, or of the adapters on them."""
    linear = _linear(shapes)
    if recipe.adaptation.method == "full":
        return sum(math.prod(shape) for shape in linear)
    return recipe.adaptation.rank * sum(sum(shape) for shape in linear)


def machine_memory() -> int | None:
    """Bytes of memory that this process may use: the machine's, or its container's limit; None where not told."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return whole
    return min(whole, int(limit)) if limit.isdigit() else whole


def _flops_a_token(recipe: Recipe, parameters: int, shapes: dict[str, tuple[int, ...]]) -> float:
    """FLOPs for each text token of a step: next-token pass, its views, and the base's pass on raw rows."""
    adaptation = recipe.adaptation
    forward = 2 * parameters
    if adaptation.scope == "special":
        trained = forward  # prefixes have no graph; that of a special token or two is next to nothing
    elif adaptation.method == "full":
        trained = 3 * forward
    else:
        folds = _folds(recipe)
        trained = 2 * forward + sum(flops_a_token(adaptation.rank, *shape, folds=folds) for shape in _linear(shapes))
    objective = recipe.objective
    views = 0.0
    if objective.contrastive.rows != "none":
        share = 1 - objective.contrastive_start / recipe.training.steps
        taking_part = 1.0 if objective.contrastive.rows == "all" else 1 - objective.raw_share
        views = _views(recipe) * share * taking_part
    base_pass = forward * objective.raw_share if objective.keep_language > 0 else 0.0
    again = forward if recipe.training.gradient_checkpointing else 0
    return (trained + again) * (1 + views) + base_pass


def _views(recipe: Recipe) -> int:
    """Of each text."""
    contrastive = recipe.objective.contrastive
    if contrastive.rows == "none":
        return 0
    return 1 if contrastive.bag_of_words == 1 else 2


def _memory(
    recipe: Recipe, parameters: int, trainable: int, besides: int, hidden: int, layers: int, vocabulary: int
) -> int:
    """Bytes of one worker: float32 weights, gradients, what is held besides, and the activations of one batch."""
    weights = parameters * BYTES_FLOAT32
    if recipe.adaptation.method == "lora":
        weights += trainable * BYTES_FLOAT32
    states = trainable * BYTES_FLOAT32 + besides
    passes = max(1, _views(recipe))  # they are in the graph together
    batch = math.ceil(recipe.training.batch_size / recipe.resources.workers)
    rows = min(batch * passes, recipe.training.rows_at_once or batch * passes)
    tokens = rows * (recipe.data.max_length + recipe.special_tokens.count)
    gpu = recipe.training.precision == "auto" and recipe.resources.gpus_per_worker > 0
    times = 1 if gpu or recipe.training.precision == "bfloat16" else 2
    kept = (
        (2 * layers + ACTIVATION_BYTES_A_LAYER)
        if recipe.training.gradient_checkpointing
        else ACTIVATION_BYTES_A_LAYER * layers
    )
    activations = tokens * hidden * kept * times
    logits = 3 * min(LOGIT_BYTES, tokens * vocabulary * BYTES_FLOAT32)  # with their softmax and gradient
    return weights + states + activations + logits


def _hidden_size(config: dict[str, object], base: ResolvedModel) -> int:
    size = config.get("hidden_size") or config.get("n_embd")
    if not isinstance(size, int):
        raise GemError(f"config.json of {base.reference} names no hidden_size: is it a decoder language model?")
    return size


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
