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
    """Each source with its pinned revision, the rows taken and, where its card states one, its licence."""
    recipe: dict[str, Any]
    """The whole recipe, so that the run can be repeated."""
    recipe_digest: str
    """Its digest."""
    code_commit: str | None = None
    """The commit of this program, where it runs from a checkout."""
    image: str | None = None
    """The container image that the run was made in."""
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
    worker_seconds: float | None = None
    """What the training cost: its wall time, times the workers."""
    packages: dict[str, str] = {}
    """Versions of the libraries that shape a result."""

    def tags(self) -> dict[str, str]:
        """What people search versions by in MLflow (``tags.`gem.base_digest` = '…'``); the whole has its own tag."""
        named = {
            name: getattr(self, name)
            for name in (
                "base_model", "base_revision", "base_digest", "base_license", "data_digest", "recipe_digest",
                "code_commit", "image", "parent", "worker_seconds",
            )
        }  # fmt: skip
        return {f"gem.{name}": str(value) for name, value in named.items() if value is not None}

    def facts(self) -> dict[str, str]:
        """The lineage in the words of a table, unknown things left out."""
        sources = [f"{source['source']} at {str(source['revision'])[:12]}" for source in self.data_sources]
        said = {
            "base model": self.base_model,
            "base revision": self.base_revision,
            "base digest": self.base_digest,
            "licence of the base": self.base_license,
            "data": ", ".join(sources),
            "data digest": self.data_digest,
            "licence of the data": ", ".join(self.data_licenses()),
            "recipe digest": self.recipe_digest,
            "code": self.code_commit,
            "image": self.image,
            "parent version": self.parent,
            "cost": None if self.worker_seconds is None else f"{self.worker_seconds:,.0f} worker-seconds",
            "packages": ", ".join(f"{name} {version}" for name, version in sorted(self.packages.items())),
        }
        return {name: value for name, value in said.items() if value}

    def data_licenses(self) -> tuple[str, ...]:
        """The licences that the data's cards state, each once."""
        stated = (source.get("license") for source in self.data_sources)
        return tuple(dict.fromkeys(str(license_) for license_ in stated if license_))
