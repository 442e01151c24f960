"""Continuations: a model writes on from prompts, and the base reads what it wrote.

Multiple choice asks which of four answers is likelier; a model may keep that and lose the thread when it writes. Three
things are read off each continuation, each from 0 to 1, more being better, so that two models pair up prompt by prompt:

- ``likelihood``: the geometric mean of the probability that the base gives its tokens, one over the perplexity;
- ``distinct``: the share of its n-grams that are not repetitions: one minus seq-rep-4 of Welleck et al. 2019, "Neural
  text generation with unlikelihood training". A loop is likely to any reader: the two belong together;
- ``length``: its tokens, as a share of those that were allowed.

The reader is the base, for the base's own continuations too, and its digest is part of a score's settings.
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gem_core.errors import GemError
from gem_core.evaluation.data_access import Unreachable
from gem_core.evaluation.prompts import prompts
from gem_core.evaluation.scores import TaskScore
from gem_core.evaluation.store import Measured
from gem_core.method.batched_generation import generate_all
from gem_core.method.read_out import text_tokens

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from gem_core.evaluation.plan import PlannedTask
    from gem_core.method.model import GemModel
    from gem_core.recipe import Evaluation
    from gem_core.sandbox import Sandbox
    from gem_core.settings import Settings

ASPECTS = ("likelihood", "distinct", "length")
WORDS = 4
"""Tokens of an n-gram."""
SEED = 0
"""Of the sampling."""

RECORDS = pa.schema(
    {name: pa.string() for name in ("task", "item", "prompt", "continuation")}
    | {"tokens": pa.int32(), "loglikelihood": pa.float64()}
    | {aspect: pa.float64() for aspect in ASPECTS}
)
"""One row a prompt; ``tokens`` and ``loglikelihood`` as the reader counts them."""


@dataclass(frozen=True)
class Reader:
    """The base that reads continuations."""

    folder: Path
    digest: str


def reader_of(folder: Path, settings: Settings) -> Reader:
    """The reader where nobody names one: the base that a model was trained on, and a base for itself.

    Raises:
        GemError: The base cannot be found any more.
    """
    from gem_core.identity import content_digest
    from gem_core.method import model_folder
    from gem_core.recipe import BaseModelSource
    from gem_core.sources.models import kind_of, resolve

    description = model_folder.read(folder)
    if description is None:
        return Reader(folder, content_digest(folder))
    named = description.base
    revision = named.revision if kind_of(named.reference) == "hub" else None
    base = resolve(BaseModelSource(source=named.reference, revision=revision), settings)
    return Reader(base.folder, base.digest)


class ContinuationSuite:
    """A model that writes, and a reader."""

    def __init__(
        self, model: GemModel, evaluation: Evaluation, settings: Settings, reader: Reader, sandbox: Sandbox | None
    ) -> None:
        self.model = model
        self.evaluation = evaluation
        self.settings = settings
        self.reader = reader
        self.sandbox = sandbox

    def measure(self, planned: PlannedTask, read_out: str = "") -> Measured | Unreachable:
        """Write, read, and keep every continuation. Generation has no read-out."""
        began = time.monotonic()
        asked = self.evaluation.generation
        try:
            texts, whole = prompts(asked, self.settings, self.sandbox)
        except GemError as error:
            return Unreachable(str(error))
        written = generate_all(
            self.model,
            texts,
            max_new_tokens=asked.max_new_tokens,
            temperature=asked.temperature if planned.task == "sampled" else 0.0,
            seed=SEED,
            batch_size=asked.batch_size,
        )
        rows = [
            {"task": planned.task, "item": f"{number}-{_digest(prompt)}", "prompt": prompt, "continuation": text}
            | looked_at(tokens, likelihood, asked.max_new_tokens)
            for number, (prompt, text, (tokens, likelihood)) in enumerate(
                zip(texts, written, self._read(texts, written), strict=True)
            )
        ]
        scores = scores_of(rows, planned, limited=len(texts) < whole)
        return Measured(scores, pa.Table.from_pylist(rows, schema=RECORDS), time.monotonic() - began)

    def _read(self, texts: Sequence[str], written: Sequence[str]) -> list[tuple[list[int], float]]:
        """Each continuation's tokens as the reader reads them, and their log-likelihood behind the prompt."""
        from gem_core.evaluation.likelihoods import Likelihoods
        from gem_core.method.model import GemModel

        reader = GemModel.load(self.reader.folder, settings=self.settings, dtype=self.evaluation.dtype)
        before = text_tokens(reader.tokenizer, texts, reader.max_length)
        whole = text_tokens(
            reader.tokenizer, [one + two for one, two in zip(texts, written, strict=True)], reader.max_length
        )
        counts = [min(len(both) - len(one), len(both) - 1) for one, both in zip(before, whole, strict=True)]
        likelihoods = Likelihoods(reader.causal_lm(), self.evaluation.generation.batch_size)
        asked = [number for number, count in enumerate(counts) if count > 0]
        found = likelihoods.score([(whole[number], counts[number]) for number in asked]) if asked else []
        sums = {number: likelihood for number, (likelihood, _) in zip(asked, found, strict=True)}
        return [
            (whole[number][-count:] if count > 0 else [], sums.get(number, 0.0)) for number, count in enumerate(counts)
        ]


def looked_at(tokens: Sequence[int], likelihood: float, allowed: int) -> dict[str, Any]:
    """What is read off one continuation; an empty one is worth nothing in any respect.

    Args:
        tokens: It, as the reader reads it.
        likelihood: Their summed natural log-likelihood.
        allowed: Tokens at most.

    >>> looked_at([], 0.0, 8)["distinct"]
    0.0
    """
    return {
        "tokens": len(tokens),
        "loglikelihood": likelihood,
        "likelihood": math.exp(likelihood / len(tokens)) if tokens else 0.0,
        "distinct": distinct(tokens),
        "length": min(1.0, len(tokens) / allowed),
    }


def distinct(tokens: Sequence[Hashable], size: int = WORDS) -> float:
    """The share of n-grams that occur for the first time; 1 for what is too short to repeat one, 0 for nothing.

    >>> distinct("abcdefgh"), distinct("aaaaaaa")
    (1.0, 0.25)
    """
    grams = list(zip(*(tokens[start:] for start in range(size)), strict=False))
    return len(set(grams)) / len(grams) if grams else float(bool(tokens))


def scores_of(rows: Sequence[dict[str, Any]], planned: PlannedTask, *, limited: bool) -> tuple[TaskScore, ...]:
    """The scores of one way to write: a score for each aspect, and the perplexity over all tokens."""
    shared = {"kind": "generation", "read_out": "", "items": len(rows), "limited": limited, "settings": planned.digest}
    scores = []
    for aspect in ASPECTS:
        shares = [100.0 * row[aspect] for row in rows]
        error = stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else None
        scores.append(
            TaskScore(task=f"{planned.task}-{aspect}", metric=aspect, value=fmean(shares), stderr=error, **shared)
        )
    tokens = sum(row["tokens"] for row in rows)
    mean = sum(row["loglikelihood"] for row in rows) / tokens if tokens else -math.inf
    perplexity = math.exp(-mean) if mean > -700 else math.inf
    of_all = TaskScore(
        task=f"{planned.task}-likelihood", metric="perplexity", value=perplexity, higher_is_better=False, **shared
    )
    return (*scores, of_all)


def _digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]
