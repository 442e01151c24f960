"""The sections of a recipe that shape the weights: every choice of the GEM method (arXiv 2506.04344) and its data."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from gem_core.recipe.section import Fraction, PositiveInt, Section


class SpecialTokens(Section):
    """The k tokens that summarise a text (paper, section 3.1)."""

    count: int = Field(default=1, ge=1, le=64)
    """k. The paper measures 1, 2, 5 and 10; with 1 any server can produce the embedding."""
    start: Literal["mean", "zero"] = "mean"
    """Where new rows start. ``mean``: at the mean embedding, inside the distribution the layers know. ``zero`` (ours):
    a token that is nothing yet looks at all of a text alike, and not at its first token alone (docs/method.md)."""
    noise: float = Field(default=0.02, ge=0.0, le=1.0)
    """Noise added to it, as a share of the standard deviation of the known rows."""
    pooling: Literal["mean", "concat", "last"] = "mean"
    """How k last-layer states become one embedding."""
    blind: bool = True
    """The special tokens do not see each other (paper). ``false``: each sees those before it, as any token does."""

    @field_validator("count", mode="before")
    @classmethod
    def _something_to_read(cls, count: object) -> object:
        if count == 0:
            raise ValueError("special_tokens.count=0 leaves no token to read an embedding from; give one or more")
        return count


class Adaptation(Section):
    """Which weights are trained (not stated in the paper)."""

    method: Literal["lora", "full"] = "lora"
    """``lora`` trains an adapter and the k new embedding rows; ``full`` trains every weight."""
    scope: Literal["all", "special"] = "all"
    """Where the adapter acts. ``special`` (lossless): at the special tokens alone, so that any other text runs on the
    untouched base, bit for bit."""
    rank: int = Field(default=16, ge=1, le=1024)
    """LoRA r."""
    alpha: float = Field(default=32.0, gt=0.0)
    """LoRA alpha: the update is scaled by ``alpha / rank``."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """LoRA dropout."""
    null_space: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Ours: the adapter reads only directions that hold together at most this share of the energy of ordinary text
    (raw rows), so that it hardly moves such text wherever it acts; 0.005 is a start. Unset: all directions."""


class TextSource(Section):
    """Rows of text to train on."""

    source: str = Field(min_length=1)
    """A hub data set, a ``.jsonl``, ``.parquet`` or ``.txt`` file, or ``sandbox:SEED``."""
    revision: str | None = None
    """A hub commit; resolved and pinned when the run starts."""
    split: str = "train"
    """Which split of a hub data set."""
    column: str = "text"
    """The column that holds the text (ignored for ``.txt``: one row a line, and for pairs)."""
    pairs: bool = False
    """Supervised rows for the contrastive loss alone: the columns ``anchor``, ``positive`` and any ``negative``,
    ``negative_1`` ..., as sentence-transformers names them."""
    query_template: str = "{text}"
    """What the anchors of pairs are wrapped in: ``Instruct: Find the answer. Query: {text}``. Embed queries alike."""
    use: tuple[Literal["raw", "special", "contrastive"], ...] = Field(
        default=("raw", "special", "contrastive"), min_length=1
    )
    """What its rows serve: next-token rows without and with special tokens, contrastive views. ``[raw]`` replays text
    of the base's own domain."""
    rows: PositiveInt | None = None
    """Take this many rows, drawn by the recipe's seed; all when unset."""

    @field_validator("query_template")
    @classmethod
    def _template_holds_the_text(cls, template: str) -> str:
        if "{text}" not in template:
            raise ValueError("the template has no {text}, the place of the query")
        return template

    @model_validator(mode="after")
    def _only_what_it_heeds(self) -> Self:
        if self.pairs and "contrastive" not in self.use:
            raise ValueError("pairs serve the contrastive loss alone; leave use out")
        if not self.pairs and self.query_template != "{text}":
            raise ValueError("query_template wraps the anchors of pairs; set pairs=true, or leave it out")
        return self


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
    dropout_kind: Literal["delete", "mask"] = "delete"
    """``delete``: dropped tokens are taken out. ``mask``: they keep their places, and no other token sees them."""
    views: Literal["both", "one"] = "both"
    """Drop tokens in both views, or keep one intact."""
    scale: float = Field(default=20.0, gt=0.0)
    """Initial logit scale (1 / temperature)."""
    max_scale: float = Field(default=100.0, gt=0.0)
    """The learnt scale is clamped to [1, this], as in CLIP."""
    learn_scale: bool = True
    """Learn the logit scale."""
    dimensions: tuple[PositiveInt, ...] = ()
    """Matryoshka: the loss is also taken of the first so many numbers of an embedding, and averaged over all sizes."""
    bag_of_words: Fraction = 0.0
    """Ours: this share of the views' loss asks the special tokens for the words of the whole text, dropped ones too,
    instead of telling texts apart. With 1 nothing is contrasted, and a text has one view (docs/method.md)."""


class Objective(Section):
    """What is minimised: ``(1 - a) * next-token + a * views + keep_language * KL(base || model)``.

    The loss of the views is ``(1 - b) * contrastive + b * words``, b being ``contrastive.bag_of_words``.
    """

    raw_share: Fraction = 0.8
    """p: share of rows without special tokens in each batch (the paper's best is 0.8)."""
    reconstruction_share: Fraction = 0.5
    """Of the rows with specials: how many restore the same text; the others continue it."""
    cut: tuple[Fraction, Fraction] = (0.0, 1.0)
    """Where a row is cut: uniformly between these shares of its tokens, at least a token on each side."""
    bottleneck: bool = True
    """The suffix sees the prefix through the special tokens alone. ``false`` is the control: plain causal rows."""
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

    @field_validator("cut")
    @classmethod
    def _cut_leaves_both_sides(cls, cut: tuple[float, float]) -> tuple[float, float]:
        low, high = cut
        if low > high:
            raise ValueError("give the lower share first")
        if low == 1 or high == 0:
            raise ValueError(f"such a cut leaves no {'suffix' if low == 1 else 'prefix'}")
        return cut


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
    muon: float | None = Field(default=None, gt=0.0, le=1.0)
    """Peak rate of Muon for the weights of linear layers and their adapters, in both stages; 0.02 is its authors'. It
    makes every direction of an update equally long. All other weights keep AdamW and the rates above. Unset: AdamW for
    everything, as in the paper."""
    warmup: Fraction = 0.03
    """Share of the steps over which the rate rises; it then falls by a cosine to ``final_rate``."""
    final_rate: Fraction = 0.1
    """Where the cosine ends, as a share of the peak."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """On matrices only, not on the special tokens' embeddings."""
    max_gradient_norm: float = Field(default=1.0, gt=0.0)
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 on CUDA and on CPUs with AMX, else float32. Weights and optimizer state stay float32."""
    attention: Literal["sdpa", "eager", "flex_attention", "flash_attention_2"] = "sdpa"
    """The attention backend; tested against the mask before the first step. ``flex_attention`` trains on CUDA only,
    FlashAttention takes no GEM mask: only recipes whose rows need none run on it."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""
    rows_at_once: PositiveInt | None = None
    """At most so many rows go through the network together, on each worker. Contrastive embeddings are then made twice
    (gradient caching), so that memory does not grow with the batch; a result changes by rounding alone."""
    checkpoint_every: PositiveInt = 100
    """Steps between checkpoints."""
