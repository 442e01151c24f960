"""Where a model version comes from: enough to explain it and to run it again."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Lineage(BaseModel):
    """The ancestry of a version, as its registry tag ``gem.lineage`` keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str
    """The source as the recipe names it."""
    base_revision: str
    """The full commit, or the digest where the source knows no commits."""
    base_digest: str
    """Content digest of the base."""
    base_license: str | None = None
    """As the base's card states it."""
    data_digest: str
    """Digest of the prepared rows."""
    data_sources: tuple[dict[str, Any], ...] = ()
    """Each source with its pinned revision and the rows taken."""
    recipe: dict[str, Any]
    """The whole recipe, so that the run can be repeated."""
    recipe_digest: str
    """Its digest."""
    code_commit: str | None = None
    """The commit of this program, where it runs from a checkout."""
    parent: str | None = None
    """The champion's version when this one was made."""
    flow_run: str | None = None
    """The Prefect flow run's id."""
    ray_job: str | None = None
    """The Ray job's id."""
    steps: int | None = None
    """Optimizer steps."""
    training_seconds: float | None = None
    """The training loop's wall time."""
    packages: dict[str, str] = {}
    """Versions of the libraries that shape a result."""
