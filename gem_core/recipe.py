"""The description of a post-training run: frozen, validated, digestible.

A recipe is what a team keeps in version control. It holds every choice of the GEM method (arXiv 2506.04344) that
changes a result and nothing about the machine it runs on, except ``resources``, which changes no result.
Loading, overriding and printing one is in :mod:`gem_core.recipe_files`.
"""

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gem_core.recipe_gates import Gate as Gate
from gem_core.recipe_section import Fraction, PositiveInt, Section

NAME_PATTERN = r"^[a-z][a-z0-9._-]{0,62}$"


class BaseModelSource(Section):
    """Where the base model comes from, and which state of it."""

    source: str = Field(min_length=1)
    """A hub id (``meta-llama/Llama-3.2-1B``), ``s3://bucket/prefix``, a folder, or ``sandbox:SEED``."""
    revision: str | None = None
    """A hub commit, tag or branch; a branch is resolved to the commit it names when the run starts."""


class SpecialTokens(Section):
    """The k tokens that summarise a text (paper, section 3.1)."""

    count: int = Field(default=1, ge=1, le=64)
    """k. The paper measures 1, 2, 5 and 10; with 1 any server can produce the embedding."""
    noise: float = Field(default=0.02, ge=0.0, le=1.0)
    """New rows start at the mean embedding plus noise of this share of the rows' standard deviation."""
    pooling: Literal["mean", "concat"] = "mean"
    """How k last-layer states become one embedding."""


class Adaptation(Section):
    """Which weights are trained (not stated in the paper)."""

    method: Literal["lora", "full"] = "lora"
    """``lora`` trains an adapter and the k new embedding rows; ``full`` trains every weight."""
    rank: int = Field(default=16, ge=1, le=1024)
    """LoRA r."""
    alpha: float = Field(default=32.0, gt=0.0)
    """LoRA alpha: the update is scaled by ``alpha / rank``."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """LoRA dropout."""


class TextSource(Section):
    """Rows of text to train on."""

    source: str = Field(min_length=1)
    """A hub data set, a ``.jsonl``, ``.parquet`` or ``.txt`` file, or ``sandbox:SEED``."""
    revision: str | None = None
    """A hub commit; resolved and pinned when the run starts."""
    split: str = "train"
    """Which split of a hub data set."""
    column: str = "text"
    """The column that holds the text (ignored for ``.txt``: one row a line)."""
    rows: PositiveInt | None = None
    """Take this many rows, drawn by the recipe's seed; all when unset."""


class Data(Section):
    """The training rows: sources are drawn, joined and shuffled by the recipe's seed."""

    sources: tuple[TextSource, ...] = Field(min_length=1)
    """Mix single sentences and passages: what the embedding is asked for later should occur here."""
    max_length: int = Field(default=512, ge=8, le=131_072)
    """Tokens a row, special tokens not counted."""
    on_long: Literal["truncate", "drop", "refuse"] = "truncate"
    """What happens to a longer row."""


class Contrastive(Section):
    """Self-supervised contrastive loss: two views of a text by dropping prefix tokens (paper, section 3.3)."""

    rows: Literal["all", "special", "none"] = "all"
    """Which rows of a batch take part: the paper's 20 % are few negatives; ``none`` turns the loss off."""
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of prefix tokens dropped."""
    views: Literal["both", "one"] = "both"
    """Drop tokens in both views, or keep one intact."""
    scale: float = Field(default=20.0, gt=0.0)
    """Initial logit scale (1 / temperature)."""
    max_scale: float = Field(default=100.0, gt=0.0)
    """The learnt scale is clamped to [1, this], as in CLIP."""
    learn_scale: bool = True
    """Learn the logit scale."""


class Objective(Section):
    """What is minimised: ``(1 - a) * next-token + a * contrastive + keep_language * KL(base || model)``."""

    raw_share: Fraction = 0.8
    """p: share of rows without special tokens in each batch (the paper's best is 0.8)."""
    reconstruction_share: Fraction = 0.5
    """Of the rows with specials: how many restore the same text; the others continue it."""
    contrastive: Contrastive = Contrastive()
    """The contrastive part."""
    contrastive_start: int = Field(default=100, ge=0)
    """Steps of next-token training before the contrastive loss comes in (a = 0)."""
    contrastive_ramp: int = Field(default=0, ge=0)
    """Steps over which a rises linearly; 0 is a step."""
    contrastive_weight: Fraction = 1.0
    """a after the ramp. The paper raises it to 1, which turns the next-token loss off."""
    keep_language: float = Field(default=0.0, ge=0.0)
    """Weight of the KL divergence from the base to the model on raw rows."""


class Training(Section):
    """How long and how fast."""

    steps: PositiveInt = 1000
    """Optimizer steps."""
    batch_size: int = Field(default=32, ge=2)
    """Rows a step over all workers; results do not depend on the number of workers."""
    learning_rate: float = Field(default=1e-4, gt=0.0, le=1.0)
    """Peak rate while a = 0 (paper: 1e-4)."""
    contrastive_learning_rate: float = Field(default=1e-5, gt=0.0, le=1.0)
    """Peak rate once the contrastive loss is in (paper: 1e-5)."""
    warmup: Fraction = 0.03
    """Share of the steps over which the rate rises; it then falls by a cosine to ``final_rate``."""
    final_rate: Fraction = 0.1
    """Where the cosine ends, as a share of the peak."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """AdamW's, on matrices only."""
    max_gradient_norm: float = Field(default=1.0, gt=0.0)
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 on CUDA and on CPUs with AMX, else float32. Weights and optimizer state stay float32."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """The attention backend; tested against the mask before the first step."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""
    checkpoint_every: PositiveInt = 100
    """Steps between checkpoints."""


class EmbeddingEvaluation(Section):
    """MTEB tasks."""

    tasks: tuple[str, ...] = ()
    """mteb task names, or ``Sandbox...`` tasks."""
    languages: tuple[str, ...] = ("eng",)
    """Subsets of multilingual tasks, as ISO 639-3 codes."""
    batch_size: PositiveInt = 64
    """Texts a batch; recorded, since scores move with it."""
    max_length: PositiveInt = 512
    """Tokens a text; longer ones are cut."""


class LanguageEvaluation(Section):
    """lm-eval tasks."""

    tasks: tuple[str, ...] = ()
    """lm-eval task or group names."""
    fewshot: int | None = Field(default=None, ge=0)
    """Examples in the prompt; each task's own default when unset."""
    limit: PositiveInt | None = None
    """Questions a task: a quick look, marked as such in every report."""
    batch_size: PositiveInt = 32
    """Requests a batch."""


class Evaluation(Section):
    """How base, candidate and champion are measured: all three with these same settings."""

    sandbox: int | None = Field(default=None, ge=0)
    """Seed of the sandbox world whose tasks are offered besides the libraries' own."""
    embedding: EmbeddingEvaluation = EmbeddingEvaluation()
    """Embedding tasks."""
    language: LanguageEvaluation = LanguageEvaluation()
    """Language tasks."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the measured model; fixed, because scores move with it."""

    @model_validator(mode="after")
    def _sandbox_tasks_need_a_world(self) -> Self:
        names = [*self.embedding.tasks, *self.language.tasks]
        if self.sandbox is None and any(name.lower().startswith("sandbox") for name in names):
            raise ValueError("sandbox tasks need evaluation.sandbox, the seed of their world")
        return self


class Resources(Section):
    """What a training asks of the cluster. Changes no result."""

    workers: PositiveInt = 1
    """Data-parallel Ray Train workers."""
    cpus_per_worker: PositiveInt = 1
    """Also the torch threads a worker: two workers of two threads on two cores slow each other down fivefold."""
    gpus_per_worker: float = Field(default=0, ge=0)
    """GPUs a worker."""
    max_failures: int = Field(default=2, ge=0)
    """How often a job restarts from its last checkpoint after a lost worker."""


class Recipe(Section):
    """A whole post-training run."""

    name: str = Field(pattern=NAME_PATTERN)
    """The registered model: its versions are what this recipe's runs produce."""
    description: str = ""
    """One sentence for people."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Everything random in the training follows from it."""
    base_model: BaseModelSource
    """What is post-trained."""
    special_tokens: SpecialTokens = SpecialTokens()
    """The summarising tokens."""
    adaptation: Adaptation = Adaptation()
    """Which weights move."""
    data: Data
    """What it is trained on."""
    objective: Objective = Objective()
    """What is minimised."""
    training: Training = Training()
    """How long and how fast."""
    evaluation: Evaluation = Evaluation()
    """How it is measured."""
    gates: tuple[Gate, ...] = ()
    """What it has to meet. A recipe without gates promotes nothing by itself."""
    promotion: Literal["automatic", "manual", "shadow"] = "automatic"
    """What a passing version becomes: ``automatic``: champion. ``manual``: ``challenger``, until a person approves or
    declines it. ``shadow``: ``shadow``, to run beside the champion; ``gem promote`` moves it on."""
    approval_hours: float = Field(default=0.0, ge=0.0, le=24 * 30)
    """How long a ``manual`` run waits for a person. With 0 it ends at once, and an approval promotes all the same."""
    resources: Resources = Resources()
    """What the training asks of the cluster."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        start, steps = self.objective.contrastive_start, self.training.steps
        if self.objective.contrastive.rows != "none" and start >= steps:
            raise ValueError(
                f"objective.contrastive_start ({start}) leaves no contrastive step of training.steps ({steps}); "
                "lower it, or set objective.contrastive.rows=none"
            )
        if self.adaptation.method == "full" and self.objective.keep_language > 0:
            raise ValueError(
                "objective.keep_language needs adaptation.method=lora: the base is the weights with the adapter off"
            )
        names = [gate.name for gate in self.gates]
        if len(set(names)) < len(names):
            raise ValueError("gates need distinct names")
        return self

    def digest(self) -> str:
        """64 hex digits over everything that can change a result of the run."""
        return _digest(self.model_dump(mode="json", exclude={"description", "resources"}))

    def training_digest(self) -> str:
        """64 hex digits over what shapes the weights: evaluation, gates and promotion may change without retraining."""
        return _digest(self.shaping())

    def shaping(self) -> dict[str, Any]:
        """The part that shapes the weights, as JSON: what a trained model keeps of its recipe."""
        fields = {"seed", "special_tokens", "adaptation", "data", "objective", "training"}
        return self.model_dump(mode="json", include=fields)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
