"""How a trained model becomes a version: its files kept, its lineage in tags, its arrival in the log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gem_core.errors import GemError
from gem_core.recipe.recipe import NAME_PATTERN
from gem_core.records import model_files, versions
from gem_core.records.mlflow_connection import explained
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import Grounds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from gem_core.records.lineage import Lineage
    from gem_core.records.registry import Registry
    from gem_core.records.versions import Version


def register(
    registry: Registry,
    name: str,
    folder: Path,
    run_id: str,
    lineage: Lineage,
    *,
    who: str,
    digest: str | None = None,
    scores: Mapping[str, float] | None = None,
    baseline: Mapping[str, float] | None = None,
    limited: Collection[str] = (),
) -> Version:
    """Make a model folder a version of a registered model; the same content is the same version.

    Args:
        registry: Where to.
        name: The registered model; created when missing.
        folder: The model's files. They are copied to the artifacts of the run.
        run_id: The MLflow run that made it.
        lineage: Where it comes from.
        who: For the log.
        digest: What was trained and measured: a folder that has become another since is refused.
        scores: Metric -> points of the model.
        baseline: Metric -> points of its base.
        limited: Metrics that were measured on a part of their items.

    Returns:
        The version, new or found.

    Raises:
        GemError: A name the registry should not have, a changed folder, no store, or a full disk. Nothing is
            registered then.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise GemError(
            f"{name!r} cannot be a model's name: use lower-case letters, digits, '.', '_' and '-', a letter first"
        )
    championship = Championship(registry, name)
    digest = model_files.checked_digest(folder, digest)
    registry.create_model(name)
    found = registry.by_digest(name, digest)
    if found is None:
        with explained(registry.uri):
            source = model_files.store(registry.client, run_id, folder, digest, registry.versions(name))
        tags = versions.tags_of(digest, lineage, scores, baseline, limited)
        with explained(registry.uri), championship.locked():
            found = registry.by_digest(name, digest)  # another process may have been faster
            if found is None:
                registry.client.create_model_version(name, source, run_id, tags=tags)
        found = found or registry.by_digest(name, digest)
        if found is None:
            raise GemError(f"MLflow did not keep the new version of {name}: look at its server's log")
    elif scores is not None:
        registry.record_scores(name, found.version, scores, baseline or {}, limited)
    championship.register(found.version, Grounds(who, f"digest {digest[:12]}"))
    return registry.get(name, found.version)
