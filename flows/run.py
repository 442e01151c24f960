"""One post-training run as the steps of its flow share it."""

from dataclasses import dataclass, field
from pathlib import Path

from flows.timing import Stopwatch
from gem_core.recipe import Recipe
from gem_core.settings import Settings
from gem_core.sources.models import ResolvedModel


@dataclass(frozen=True)
class Run:
    """A recipe on a resolved base: what identifies the run and where its files are."""

    recipe: Recipe
    base: ResolvedModel
    settings: Settings
    watch: Stopwatch = field(default_factory=Stopwatch, compare=False)
    again: str = ""
    """Set to do the same once more, apart from what was done before: it ends the names of folder, job and run."""

    @property
    def training_key(self) -> str:
        """Names the training (and its Ray job): equal for runs that would train the same weights."""
        return self._named(self.recipe.training_digest())

    @property
    def key(self) -> str:
        """Names the whole run (and its MLflow run): also equal evaluation, gates and promotion."""
        return self._named(self.recipe.digest())

    def _named(self, digest: str) -> str:
        parts = (self.recipe.name, digest[:12], self.base.digest[:8], self.again)
        return "-".join(part for part in parts if part)

    @property
    def folder(self) -> Path:
        """Prepared data, checkpoints, the trained model and the jobs' descriptions."""
        return self.settings.runs / self.training_key

    @property
    def model(self) -> Path:
        """The trained model's folder."""
        return self.folder / "model"
