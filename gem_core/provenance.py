"""What is known of where a model comes from: its lineage in the registry, else what its folder says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from gem_core import base_checks
from gem_core.identity import content_digest
from gem_core.method import model_folder
from gem_core.records.tracking import flatten
from gem_core.records.versions import parse_reference
from gem_core.sources.models import kind_of

if TYPE_CHECKING:
    from pathlib import Path

    from gem_core.settings import Settings


class Provenance(BaseModel):
    """One model of a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    """What it was asked for by."""
    digest: str
    """Content digest of its folder."""
    facts: dict[str, str]
    """What to know of it, in the words of a table; unknown facts are left out."""
    recipe: dict[str, Any] = {}
    """What it was trained by, keys joined by dots: a registered version's whole recipe, a folder's training part."""


def provenance(reference: str, folder: Path, settings: Settings) -> Provenance:
    """Gather what is known of a model.

    Args:
        reference: Any MODEL argument.
        folder: Where it was found (:func:`gem_core.sources.models.locate`).
        settings: Which registry is asked for a version.

    Raises:
        GemError: ``gem.json`` is damaged, or the registry is out of reach.
    """
    digest = content_digest(folder)
    if kind_of(reference) == "registry":
        from gem_core.records.registry import Registry  # imports mlflow, which takes seconds

        version = Registry(settings).get(*parse_reference(reference))
        facts = {"version": f"{version.name} {version.version}", "aliases": ", ".join(version.aliases)}
        if version.lineage is not None:
            facts |= version.lineage.facts()
            return Provenance(
                reference=reference, digest=digest, facts=_known(facts), recipe=flatten(version.lineage.recipe)
            )
        return Provenance(reference=reference, digest=digest, facts=_known(facts))
    description = model_folder.read(folder)
    if description is None:
        facts = {"kind": "base model", "licence": base_checks.license_of(folder) or ""}
        return Provenance(reference=reference, digest=digest, facts=_known(facts))
    base = description.base
    facts = {
        "base model": base.reference,
        "base revision": base.revision,
        "base digest": base.digest,
        "licence of the base": base.license or "",
    }
    return Provenance(reference=reference, digest=digest, facts=_known(facts), recipe=flatten(description.recipe or {}))


def recipe_changes(first: Provenance, second: Provenance) -> dict[str, tuple[str, str]]:
    """What two trained models were made by differently: key -> (first, second); empty where either was not trained."""
    if not first.recipe or not second.recipe:
        return {}
    shared = first.recipe.keys() & second.recipe.keys()
    whole = first.recipe.keys() | second.recipe.keys() if "name" in shared else shared
    changed = sorted(key for key in whole if first.recipe.get(key) != second.recipe.get(key))
    return {key: (_said(first.recipe.get(key)), _said(second.recipe.get(key))) for key in changed}


def _said(value: Any) -> str:  # noqa: ANN401 - any value of a recipe
    return "–" if value is None else str(value)


def _known(facts: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value}
