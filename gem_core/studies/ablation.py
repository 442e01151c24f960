"""Rivals and ablations of a recipe: a grid of variants, each trained on the same rows and scored by the same tasks.

A variant is the recipe with some values changed, or a baseline on its base (:mod:`gem_core.studies.baselines`).
Where they run is in :mod:`ray_jobs.ablate`, what is made of their scores in :mod:`gem_core.studies.ablation_table`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gem_core.errors import GemError
from gem_core.recipe.files import apply_override, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gem_core.evaluation.mteb import Embedder
    from gem_core.method.model import GemModel
    from gem_core.recipe import Recipe
    from gem_core.settings import Settings
    from gem_core.sources.models import ResolvedModel
    from gem_core.sources.rows import Rows

REFERENCE = "GEM"
"""The recipe as it is: what every variant is compared with."""


class Variant(BaseModel):
    """One row of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    overrides: tuple[str, ...] = ()
    """What differs from the recipe where something is trained."""
    baseline: str | None = None
    """``hashed``, ``simcse`` or the name of a template; nothing of GEM then."""

    @property
    def trained(self) -> bool:
        """Whether seeds matter."""
        return self.baseline in (None, "simcse")

    def recipe(self, recipe: Recipe, seed: int) -> Recipe:
        """The recipe that it trains.

        Raises:
            GemError: An override that does not fit the recipe.
        """
        content = recipe.model_dump(mode="json") | {"seed": seed}
        for override in self.overrides:
            apply_override(content, override)
        return parse(content, origin=f"of {self.name}")

    def comes_to(self, recipe: Recipe, seed: int) -> str:
        """Equal for variants that are the same under two names, as ``k = 1`` is of a recipe that has one token."""
        return f"{self.baseline} {self.recipe(recipe, seed).digest()}"


def _each(key: str, values: Sequence[object], name: str) -> tuple[Variant, ...]:
    return tuple(Variant(name=f"{name} = {value}", overrides=(f"{key}={value}",)) for value in values)


NO_NEXT_TOKEN = ("objective.contrastive_start=0", "objective.contrastive_ramp=0", "objective.contrastive_weight=1")
NO_CONTRAST = ("objective.contrastive.rows=none",)
PLAIN_ADAPTER = ("adaptation.scope=all", "adaptation.rank=16", "adaptation.alpha=32")
GRIDS: dict[str, tuple[Variant, ...]] = {
    "pooling": tuple(
        Variant(name=f"base, {name} pooling", baseline=name) for name in ("mean", "weighted-mean", "last")
    ),
    "prompts": (Variant(name="PromptEOL", baseline="prompt-eol"), Variant(name="Echo", baseline="echo")),
    "simcse": tuple(
        Variant(
            name=f"causal SimCSE, weighted mean, {name}",
            overrides=(*PLAIN_ADAPTER, "training.contrastive_learning_rate=1e-3", *overrides),
            baseline="simcse",
        )
        for name, overrides in (
            ("AdamW", ("training.muon=null",)),
            ("AdamW, dropout 0.5", ("training.muon=null", "objective.contrastive.dropout=0.5")),
            ("Muon", ("training.muon=0.02",)),
            ("Muon, dropout 0.5", ("training.muon=0.02", "objective.contrastive.dropout=0.5")),
        )
    ),
    "floor": (Variant(name="hashed words", baseline="hashed"),),
    "parts": (
        Variant(name="without the bottleneck", overrides=("objective.bottleneck=false",)),
        Variant(name="next-token only", overrides=NO_CONTRAST),
        Variant(name="contrastive only", overrides=NO_NEXT_TOKEN),
    ),
    "words": (
        Variant(name="contrast in place of words", overrides=("objective.contrastive.bag_of_words=0",)),
        Variant(name="half contrast, half words", overrides=("objective.contrastive.bag_of_words=0.5",)),
        Variant(
            name="rows that start at the mean", overrides=("special_tokens.start=mean", "special_tokens.noise=0.02")
        ),
    ),
    "language": (
        Variant(name="without the null space", overrides=("adaptation.null_space=null",)),
        Variant(name="without the divergence", overrides=("objective.keep_language=0",)),
        Variant(name="with neither", overrides=("adaptation.null_space=null", "objective.keep_language=0")),
    ),
    "optimizer": (
        Variant(name="by AdamW alone", overrides=("training.muon=null",)),
        Variant(name="matrices by Muon", overrides=("training.muon=0.02",)),
    ),
    "blindness": (
        Variant(name="k = 4, blind", overrides=("special_tokens.count=4", "special_tokens.blind=true")),
        Variant(name="k = 4, not blind", overrides=("special_tokens.count=4", "special_tokens.blind=false")),
    ),
    "k": _each("special_tokens.count", (1, 2, 4, 8), "k"),
    "p": (
        # without raw rows there is nothing to hold the language by
        Variant(name="p = 0", overrides=("objective.raw_share=0", "objective.keep_language=0")),
        *_each("objective.raw_share", (0.2, 0.4, 0.6, 0.8, 0.9, 0.95), "p"),
    ),
}
"""What ``gem ablate --grid`` takes."""


def variants(grid: str) -> tuple[Variant, ...]:
    """The variants of some grids (``pooling,simcse``; ``all``), the reference first.

    Raises:
        GemError: A grid that there is not.
    """
    names = [name.strip() for name in grid.split(",") if name.strip()]
    names = list(GRIDS) if names == ["all"] else names
    if not names or (unknown := [name for name in names if name not in GRIDS]):
        raise GemError(f"no grid {', '.join(unknown if names else [repr(grid)])}; there are all, {', '.join(GRIDS)}")
    found = {REFERENCE: Variant(name=REFERENCE)}
    for name in names:
        found.update({variant.name: variant for variant in GRIDS[name]})
    return tuple(found.values())


class Result(BaseModel):
    """What one variant with one seed scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    seed: int
    points: dict[str, float]
    """By task."""
    predictions: dict[str, list[float]] = {}
    """Of tasks that ask for similarities, item by item ..."""
    golds: dict[str, list[float]] = {}
    """... and what people said."""
    missing: dict[str, str] = {}
    """Tasks that could not be measured, with the reason."""
    drift: float | None = None
    """What a training did to the language: :func:`gem_core.studies.drift.drift`, in nats a token."""


def run_variant(
    variant: Variant,
    seed: int,
    recipe: Recipe,
    base: ResolvedModel,
    rows: Rows,
    settings: Settings,
    *,
    report: Callable[[int, int], None] = lambda done, steps: None,
) -> Result:
    """Train a variant, if it is trained, and score its embeddings.

    Args:
        variant: What is varied.
        seed: Of its training.
        recipe: What it varies.
        base: Resolved and present on this machine.
        rows: Tokenized by the base's tokenizer.
        settings: Where scores are kept.
        report: Called with the steps done and all steps.

    Raises:
        GemError: As training and evaluation raise it.
    """
    from gem_core.evaluation.run import measure_encoder
    from gem_core.studies.drift import drift

    own = variant.recipe(recipe, seed)
    embedding = own.evaluation.model_copy(update={"language": own.evaluation.language.model_copy(update={"tasks": ()})})
    encoder, trained = _encoder(variant, own, base, rows, settings, report)
    found = measure_encoder(encoder, f"{variant.name}-{seed}", embedding, settings)
    points, predictions, golds, missing = {}, {}, {}, {}
    for task, measured in found.items():
        if isinstance(measured, str):
            missing[task] = measured
            continue
        points[task] = measured.scores[0].value
        if measured.scores[0].metric == "cosine_spearman" and measured.records is not None:
            predictions[task], golds[task] = (
                [float(json.loads(cell)) for cell in measured.records[column].to_pylist()]
                for column in ("prediction", "gold")
            )
    return Result(
        variant=variant.name,
        seed=seed,
        points=points,
        predictions=predictions,
        golds=golds,
        missing=missing,
        drift=None if trained is None else drift(trained, base, rows),
    )


def _encoder(
    variant: Variant,
    recipe: Recipe,
    base: ResolvedModel,
    rows: Rows,
    settings: Settings,
    report: Callable[[int, int], None],
) -> tuple[Embedder, GemModel | None]:
    """What embeds, and the model behind it if it was trained."""
    from gem_core.method.model import GemModel
    from gem_core.studies.baselines import TEMPLATES, HashedWords, TemplateEncoder

    if variant.baseline == "hashed":
        return HashedWords(), None
    if variant.baseline == "simcse":
        from gem_core.studies.simcse import POOLING, train_simcse

        steps = recipe.training.steps
        trained = train_simcse(recipe, base, rows, report=lambda done, _: report(done, steps))
        return TemplateEncoder(trained, TEMPLATES[POOLING]), trained
    if variant.baseline is not None:
        return TemplateEncoder(GemModel.load(base.folder, settings=settings), TEMPLATES[variant.baseline]), None
    from gem_core.method.training import train

    with tempfile.TemporaryDirectory(prefix="gem-ablation-") as folder:
        output = Path(folder) / "model"
        train(recipe, base, rows, report=lambda done: report(done.step, done.steps), output=output)
        trained = GemModel.load(output, settings=settings, dtype=recipe.evaluation.dtype)
        return trained, trained
