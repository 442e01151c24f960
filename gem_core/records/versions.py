"""What a version of a registered model is, and how MLflow's tags say it."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from gem_core.errors import GemError
from gem_core.records import filed_reports
from gem_core.records.lineage import Lineage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

log = logging.getLogger(__name__)

T = TypeVar("T")

DIGEST, LINEAGE, SCORES, BASELINE, LIMITED, VERDICT, REPORT = (
    f"gem.{name}" for name in ("digest", "lineage", "scores", "baseline", "limited", "verdict", "report")
)

CHAMPION, CHALLENGER, SHADOW = "champion", "challenger", "shadow"
"""The version that reigns, one that waits for a person, and one that runs beside the champion."""
ALIAS = r"(?!(?:latest|v\d+)$)[a-z][a-z0-9_-]{0,62}"
"""An alias that gem reads. MLflow takes ``1`` and ``Champion`` too: the one reads as a version, the other as a champion
that it is not."""
REFERENCE = re.compile(rf"models:/([^/@]+)(?:/(\d+|latest)|@({ALIAS}))")


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    version: str
    digest: str
    """Content digest of its folder; empty for a version that another program registered."""
    aliases: tuple[str, ...]
    run_id: str
    """The MLflow run that made it."""
    created: datetime
    source: str
    """Where MLflow keeps its files."""
    lineage: Lineage | None
    scores: dict[str, float] = field(default_factory=dict)
    """Metric -> points, of this version."""
    baseline: dict[str, float] = field(default_factory=dict)
    """Metric -> points, of its base."""
    limited: tuple[str, ...] = ()
    """Metrics among them that were measured on a part of their items: a quick look."""
    verdict: str | None = None
    """The last gate report's."""
    report: dict[str, Any] | None = None
    """The last gate report."""

    @property
    def reference(self) -> str:
        """``models:/NAME/VERSION``, which every MODEL argument takes."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class Family:
    """A registered model: all versions of one name."""

    name: str
    champion: str | None
    challenger: str | None
    updated: datetime


def parse_reference(reference: str) -> tuple[str, str]:
    """The registered model, and the number, alias or ``latest``, in ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``.

    Raises:
        GemError: It is neither.
    """
    match = REFERENCE.fullmatch(reference)
    if match is None:
        raise GemError(f"{reference!r} names no registered model: write models:/NAME/VERSION or models:/NAME@ALIAS")
    name, number, alias = match.groups()
    return name, number or alias


def tags_of(
    digest: str,
    lineage: Lineage,
    scores: Mapping[str, float] | None,
    baseline: Mapping[str, float] | None,
    limited: Collection[str] = (),
) -> dict[str, str]:
    """What a new version is created with, all in one call."""
    measured = {} if scores is None else scores_tags(scores, baseline or {}, limited)
    return {DIGEST: digest, LINEAGE: lineage.model_dump_json(), **lineage.tags(), **measured}


def scores_tags(scores: Mapping[str, float], baseline: Mapping[str, float], limited: Collection[str]) -> dict[str, str]:
    """What was measured, and which of it on a part of the items only."""
    return {SCORES: tag_text(scores), BASELINE: tag_text(baseline), LIMITED: json.dumps(sorted(limited))}


def tag_text(content: Mapping[str, Any]) -> str:
    """A mapping as the text of a tag: equal content is equal text."""
    return json.dumps(dict(content), separators=(",", ":"), sort_keys=True)


def version_of(item: ModelVersion, model: RegisteredModel) -> Version:
    """Read a version from what MLflow answers: the aliases are only known to its registered model."""
    tags = item.tags
    number = str(item.version)

    def told(tag: str, kind: type[T]) -> T | None:
        """What a tag tells. People can change tags, and other releases write others: that costs what it told."""
        try:
            return None if tag not in tags else TypeAdapter(kind).validate_json(tags[tag])
        except ValidationError as error:
            log.warning("tag %s of %s version %s cannot be read: %s", tag, item.name, number, error.errors()[0]["msg"])
            return None

    return Version(
        name=item.name,
        version=number,
        digest=tags.get(DIGEST, ""),
        aliases=tuple(
            sorted(alias for alias, v in model.aliases.items() if str(v) == number and re.fullmatch(ALIAS, alias))
        ),
        run_id=item.run_id or "",
        created=_time(item.creation_timestamp),
        source=item.source,
        lineage=told(LINEAGE, Lineage),
        scores=told(SCORES, dict[str, float]) or {},
        baseline=told(BASELINE, dict[str, float]) or {},
        limited=told(LIMITED, tuple[str, ...]) or (),
        verdict=tags.get(VERDICT),
        report=_report(tags, told(REPORT, dict[str, Any])),
    )


def _report(tags: Mapping[str, str], told: dict[str, Any] | None) -> dict[str, Any] | None:
    """The whole of the last gate report, which its tag names by a digest; earlier releases wrote it there itself."""
    if told is None or "digest" not in told:
        return told
    return filed_reports.whole(tags, str(told["digest"])) or None


def family_of(model: RegisteredModel) -> Family:
    """Read a registered model from what MLflow answers."""
    aliases = {alias: str(version) for alias, version in model.aliases.items()}
    return Family(model.name, aliases.get(CHAMPION), aliases.get(CHALLENGER), _time(model.last_updated_timestamp))


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
