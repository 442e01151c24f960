"""What a job is told and what it says: plain files and lines, so that neither side has to import the other's libraries.

A job is described by a JSON file and reports by lines of its log: progress as ``@gem {…}``, failure as a last line
``error: …``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, field_validator

from gem_core.errors import GemError
from gem_core.evaluation.scores import Scores
from gem_core.identity import content_digest
from gem_core.recipe import Evaluation, Recipe
from gem_core.sources.models import ResolvedModel
from gem_core.studies.ablation import Result, Variant

PROGRESS_MARK = "@gem "
ERROR_MARK = "error: "


class _File(BaseModel):
    """A frozen description that is kept as a JSON file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def write(self, path: Path) -> None:
        """Write it; a reader sees all of it or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.new")
        scratch.write_text(self.model_dump_json(indent=2) + "\n")
        scratch.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it.

        Raises:
            GemError: Missing, or not what this version writes.
        """
        try:
            return cls.model_validate_json(path.read_text())
        except (OSError, ValueError) as error:
            raise GemError(
                f"{path} does not describe a {cls.__name__} ({' '.join(str(error).split())[:200]})"
            ) from error


class TrainJob(_File):
    """``RUN_FOLDER/job.json``: one training. The job leaves ``model/`` and ``training.json`` beside it."""

    recipe: Recipe
    """What to do."""
    base: ResolvedModel
    """What is trained; its folder is there for every worker."""
    data: Path
    """The prepared rows (:class:`gem_core.sources.rows.Rows`)."""
    mlflow_run: str | None = None
    """Where the metrics go; nowhere when unset."""
    tracking_uri: str | None = None
    """The MLflow store."""

    @field_validator("data")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.resolve()  # workers have a working directory of their own


class Trained(_File):
    """``RUN_FOLDER/training.json``: what came out of a training."""

    steps: int
    """Optimizer steps."""
    seconds: float
    """Wall time of the loop, start-up excluded; of its last part when it was resumed."""
    tokens: int
    """Read by the network in that time, over all workers."""
    digest: str
    """Content digest of the model folder."""
    final: dict[str, float]
    """The last step's metrics."""

    @classmethod
    def find(cls, run_folder: Path) -> Self | None:
        """The finished training of a run folder; none unless the model beside it is the one it speaks of."""
        path, model = run_folder / "training.json", run_folder / "model"
        if not path.is_file() or not model.is_dir():
            return None
        found = cls.read(path)
        return found if content_digest(model) == found.digest else None


class ModelToScore(BaseModel):
    """A model folder and what reports call it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    reference: str
    digest: str | None = None
    """Its content digest; a folder that has another is refused."""


class EvaluateJob(_File):
    """``JOB.json``: score some models. Scores go to the score store of ``home``."""

    models: tuple[ModelToScore, ...]
    """One after the other."""
    evaluation: Evaluation
    """How."""
    home: Path
    """``GEM_HOME`` of the job."""
    threads: int = 1
    """Torch threads."""
    reader: ModelToScore | None = None
    """The base that reads continuations, for all models; each one's own when unset."""

    @staticmethod
    def result_path(job: Path) -> Path:
        """Where the job writes its :class:`Evaluated`."""
        return job.with_suffix(".result.json")


class Evaluated(_File):
    """``JOB.result.json``: the scores, also of models with tasks that could not be measured."""

    scores: dict[str, Scores]
    """By model reference."""


class FiguresJob(_File):
    """``JOB.json``: figures of one model that need it at work."""

    model: ModelToScore
    """Whose."""
    metrics: tuple[str, ...]
    """As gates name them."""
    dtype: Literal["float32", "bfloat16"]
    """Of the weights."""
    home: Path
    """``GEM_HOME`` of the job."""
    threads: int = 1
    """Torch threads."""

    @staticmethod
    def result_path(job: Path) -> Path:
        """Where the job writes its :class:`Figures`."""
        return job.with_suffix(".result.json")

    def found(self, path: Path) -> "Figures | None":
        """The result of this very job, if an earlier run left one."""
        if not self.result_path(path).is_file():
            return None
        result = Figures.read(self.result_path(path))
        return result if result.job == self else None


class Figures(_File):
    """``JOB.result.json``: what was measured, and where."""

    job: FiguresJob
    """What was asked."""
    figures: dict[str, float]
    """By metric."""
    machine: str
    """What it ran on: latencies are of this machine."""


class AblateJob(_File):
    """``JOB.json``: train and score the variants of a grid. Each result lies in ``results``, in a file of its own."""

    recipe: Recipe
    """What they vary."""
    base: ResolvedModel
    """The one base of all."""
    data: Path
    """The prepared rows, the same for all."""
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    """Of those variants that are trained; the first for the others."""
    results: Path
    home: Path
    """``GEM_HOME`` of the job."""

    def runs(self) -> list[tuple[Variant, int]]:
        """Every variant with every seed that matters to it."""
        return [(v, seed) for v in self.variants for seed in (self.seeds if v.trained else self.seeds[:1])]

    def alike(self) -> list[list[tuple[Variant, int]]]:
        """The same, those together that come to the same and need to run only once."""
        groups: dict[str, list[tuple[Variant, int]]] = {}
        for variant, seed in self.runs():
            groups.setdefault(variant.comes_to(self.recipe, seed), []).append((variant, seed))
        return list(groups.values())

    def keep(self, result: Result, runs: Sequence[tuple[Variant, int]]) -> None:
        """Write a result for each of the runs that come to it; a reader sees all of one or nothing."""
        for variant, seed in runs:
            target = self.result(variant, seed)
            scratch = target.with_suffix(".new")
            scratch.write_text(result.model_copy(update={"variant": variant.name}).model_dump_json())
            scratch.replace(target)

    def result(self, variant: Variant, seed: int) -> Path:
        """Where a result lies."""
        name = "".join(letter if letter.isalnum() else "-" for letter in variant.name.lower())
        return self.results / f"{name}.{seed}.json"

    def note_steps(self, variant: Variant, seed: int, done: int, steps: int) -> None:
        """Leave word of how far a training is."""
        self._steps(variant, seed).write_text(f"{done}/{steps}")

    def steps(self, variant: Variant, seed: int) -> tuple[int, int] | None:
        """The steps done and all steps of a training, if it has begun."""
        try:
            done, steps = map(int, self._steps(variant, seed).read_text().split("/"))
        except (OSError, ValueError):  # none, or half written
            return None
        return done, steps

    def _steps(self, variant: Variant, seed: int) -> Path:
        return self.result(variant, seed).with_suffix(".steps")

    def found(self) -> list[Result]:
        """The results that are there, in the order of the runs; one that does not read counts as missing."""
        found = []
        for variant, seed in self.runs():
            try:
                found.append(Result.model_validate_json(self.result(variant, seed).read_text()))
            except (OSError, ValueError):
                continue
        return found


class Progress(BaseModel):
    """One sign of life of a job."""

    model_config = ConfigDict(frozen=True)

    text: str
    """What is happening: ``step 120/400``."""
    share: float
    """How much is done, 0 to 1."""
    metrics: dict[str, float] = {}
    """Numbers worth a glance."""

    def line(self) -> str:
        """As a job prints it."""
        return PROGRESS_MARK + self.model_dump_json()

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """The progress in a log line, whatever Ray put before it; none in any other line."""
        _, mark, rest = line.partition(PROGRESS_MARK)
        if not mark or not rest.startswith("{"):
            return None
        try:
            content, _ = json.JSONDecoder().raw_decode(rest)
            return cls.model_validate(content)
        except ValueError:
            return None

    def __str__(self) -> str:
        return " ".join([self.text, *(f"{name} {value:.4g}" for name, value in self.metrics.items())])


def error_in(line: str) -> str | None:
    """The message of an error line."""
    return line[len(ERROR_MARK) :].strip() if line.startswith(ERROR_MARK) else None
