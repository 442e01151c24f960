"""The sections of a recipe that say what a candidate has to meet, and who promotes it."""

import re
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gem_core.near_matches import did_you_mean
from gem_core.recipe.section import Section

SCORES = ("embedding", "language", "generation")
"""What is compared between models, in points."""
FIGURE_NAMES = (
    "contamination.share", "memory.weights_mb",
    "latency.text_ms", "latency.single_text_ms", "latency.first_token_ms", "latency.token_ms",
    "stability.neighbours", "stability.trailing_spaces", "stability.half", "stability.twice", "stability.dropped_words",
)  # fmt: skip
"""What is measured of the candidate alone, each in its own unit: docs/judging.md."""
FIGURES = tuple(dict.fromkeys(name.partition(".")[0] for name in FIGURE_NAMES))
_BETWEEN = r",(?![^()]*\))"
"""A comma between names; one in parentheses belongs to a name."""

Inconclusive = Literal["refuse", "human", "more-items"]


def split_names(text: str) -> list[str]:
    """The names of a comma-separated list; a comma in parentheses belongs to a name: ``MTEB(eng, v2),mmlu``."""
    return [name.strip() for name in re.split(_BETWEEN, text) if name.strip()]


def several(names: str) -> bool:
    """Whether names of a metric may mean more than one: a list, or a wildcard."""
    return bool(re.search(rf"[*?]|{_BETWEEN}", names))


class Gate(Section):
    """One rule a candidate has to meet. Differences are in points (0 to 100), candidate minus reference."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    """What reports call it."""
    metric: str = Field(pattern=rf"^(({'|'.join(SCORES)})(\..+)?|({'|'.join(FIGURES)})\.[a-z0-9_.-]+)$")
    """``embedding`` or ``language`` (the averages), one task (``embedding.STSBenchmark``), or the average of several by
    name or wildcard (``embedding.STS*,BIOSSES``, or a benchmark's: ``embedding.MTEB(eng, v2)``). Or a figure of the
    candidate alone, as ``contamination.share``: docs/judging.md lists them."""
    each: bool = False
    """Hold every task of the metric against the rule by itself, instead of their average."""
    against: Literal["base", "champion", "threshold"]
    """The reference: the base model, the reigning champion (passes when there is none), or the bare number."""
    at_least: float | None = None
    """The least difference (or value, against a threshold) that passes; negative allows a loss."""
    at_most: float | None = None
    """The budget of a figure: the largest value that passes."""
    test: Literal["estimate", "superiority", "non-inferiority"] = "estimate"
    """What decides: the measured difference by itself, or a one-sided test that the true difference is above `at_least`
    (superiority: zero or more; non-inferiority: the loss that is allowed)."""
    level: float = Field(default=0.05, gt=0.0, lt=0.5)
    """Of the test: how often a candidate that is just not good enough may pass by chance."""
    over: Literal["items", "tasks"] = "items"
    """What the test speaks about: more items of these tasks, or other tasks like these (five or more)."""
    inconclusive: Inconclusive = "refuse"
    """Where too little is known to pass or to fail: refuse, let a person decide (``human``), or ask for more items."""

    @model_validator(mode="before")
    @classmethod
    def _earlier_spelling(cls, given: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        """``confidence: 0.9``, a two-sided interval, is a test of level 0.05."""
        if not isinstance(given, dict) or given.get("confidence") is None or "test" in given or "level" in given:
            return given
        confidence, loss = given["confidence"], given.get("at_least")
        if not isinstance(confidence, float) or not 0.5 < confidence < 1.0 or not isinstance(loss, int | float):
            return given
        allows_loss = loss < 0 and given.get("against") != "threshold"
        test = {"test": "non-inferiority" if allows_loss else "superiority", "level": round((1.0 - confidence) / 2, 9)}
        return {key: value for key, value in given.items() if key != "confidence"} | test

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.kind in FIGURES:
            if self.metric not in FIGURE_NAMES:
                hint = did_you_mean(self.metric, FIGURE_NAMES, f"there are {', '.join(FIGURE_NAMES)}")
                raise ValueError(f"nobody measures {self.metric} ({hint})")
            if self.at_most is None or self.at_least is not None or self.against != "threshold":
                raise ValueError(f"{self.metric} is a figure of the candidate: give at_most, and against: threshold")
            if self.test != "estimate" or self.each:
                raise ValueError(f"{self.metric} is one figure: test and each do not apply to it")
            return self
        if self.metric == "generation" and not self.each:
            raise ValueError("generation has no average: name one (generation.sampled-likelihood), or set each: true")
        if self.at_least is None or self.at_most is not None:
            raise ValueError(f"{self.metric} is better when higher: give at_least, and no at_most")
        if self.test == "superiority" and self.at_least < 0 and self.against != "threshold":
            raise ValueError("a superiority test needs at_least of 0 or more; to allow a loss, test: non-inferiority")
        if self.test == "non-inferiority" and (self.at_least >= 0 or self.against == "threshold"):
            raise ValueError("a non-inferiority test needs at_least below 0, the loss it allows, against a model")
        if self.over == "tasks" and (self.each or self.test == "estimate"):
            raise ValueError("over: tasks is for a test of an average over tasks")
        return self

    @property
    def kind(self) -> str:
        """What kind of number it looks at: the metric up to its first dot."""
        return self.metric.partition(".")[0]

    @property
    def averages(self) -> bool:
        """Whether the metric may be an average over several tasks."""
        return "." not in self.metric or several(self.metric)
