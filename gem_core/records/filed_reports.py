"""The gate report behind a move: kept whole with its version, under its digest.

The log carries the digest, and so vouches for it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gem_core.errors import GemError
from gem_core.records.promotion_log import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

    from gem_core.records.promotion_log import Move
    from gem_core.records.versions import Version

REPORT_TAG = "gem.report."
"""A version's tag ``gem.report.<16 digits of its digest>``: a registered model's own tags are too short for it."""


def file(client: MlflowClient, version: Version, report: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a report with its version; returns what the log says of it."""
    text = json.dumps(dict(report), separators=(",", ":"), sort_keys=True)
    digest = content_hash(json.loads(text))
    client.set_model_version_tag(version.name, version.version, f"{REPORT_TAG}{digest[:16]}", text)
    return {"verdict": report.get("verdict"), "digest": digest}


def read(client: MlflowClient, name: str, move: Move) -> dict[str, Any] | None:
    """The whole of it; None where there was none, or it is gone, and nothing in it where it is no report any more."""
    if move.report is None or move.version is None or "digest" not in move.report:
        return move.report
    text = client.get_model_version(name, move.version).tags.get(f"{REPORT_TAG}{move.report['digest'][:16]}")
    try:
        return None if text is None else dict(json.loads(text))
    except (ValueError, TypeError):  # changed by hand: its digest will not be the one in the log
        return {}


def check(report: Mapping[str, Any], candidate: Version, champion: Version | None) -> None:
    """Refuse a report that does not speak for this promotion: swapped roles promote the wrong model.

    Raises:
        GemError: It does not pass, or is about other weights.
    """
    if report.get("verdict") != "pass":
        raise GemError(
            f"the gate report of {candidate.name} version {candidate.version} says {report.get('verdict')!r}: "
            "not promoted (a person may: gem promote)"
        )
    for role, known in (("candidate", candidate), ("champion", champion)):
        judged = report.get(role)
        if judged and known and known.digest and judged != known.digest:
            raise GemError(
                f"the gate report is about other weights than the {role}'s, version {known.version} of {known.name}: "
                "not promoted; judge it again"
            )
