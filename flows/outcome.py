"""What a post-training run leaves in the caller's hands: ids, scores and the verdict. JSON, no weights."""

from pydantic import BaseModel, ConfigDict

from gem_core.evaluation.scores import Scores
from gem_core.judging.gates import GateReport


class Comparison(BaseModel):
    """The scores a candidate is judged by, all measured under the same settings."""

    model_config = ConfigDict(frozen=True)

    baseline: Scores
    """The base model's."""
    candidate: Scores
    """The trained model's."""
    champion: Scores | None
    """The champion's, as it reigned when they were gathered; None without one."""
    champion_version: str | None
    """Its version."""
    looked_twice: frozenset[str] = frozenset()
    """Gates that are read at half their level, since more items are measured where they stay open."""

    def by_role(self) -> dict[str, Scores]:
        """Base, candidate and, where there is one, champion."""
        roles = {"base": self.baseline, "candidate": self.candidate, "champion": self.champion}
        return {role: scores for role, scores in roles.items() if scores is not None}


class Decision(BaseModel):
    """What became of a version."""

    model_config = ConfigDict(frozen=True)

    promoted: bool
    """Whether the alias ``champion`` points to it now."""
    waits: bool = False
    """Whether it waits for a person."""
    sentence: str
    """Promoted, waiting or refused, and why."""


class Outcome(BaseModel):
    """The result of one flow run."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The registered model."""
    version: str
    """Its version that this run made (or found: the same weights are the same version)."""
    digest: str
    """The version's content digest."""
    mlflow_run: str
    """The id of the MLflow run."""
    folder: str
    """The run's folder: prepared data, checkpoints, model."""
    comparison: Comparison
    """Scores of base, candidate and champion."""
    report: GateReport
    """Each gate with its numbers and reason."""
    decision: Decision
    """Promoted, waiting or refused."""
    seconds: dict[str, float]
    """Where the time went: pre-training, training, scoring, orchestration, total."""
    steps: dict[str, float]
    """Wall time of the longer steps, waiting included."""
