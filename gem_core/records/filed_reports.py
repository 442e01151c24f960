"""Gate reports: kept whole with their version, each under its digest.

The log carries the digest, and so vouches for it; the version's own tag ``gem.report`` names the last one by it.
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
"""A version's tag ``gem.report.<16 digits of its digest>``: a registered model's own tags are too short for it.

What does not fit follows under the same name with ``.1``, ``.2`` …
"""
MOST_CHARACTERS = 90_000
"""Of one tag; MLflow takes 100,000. Two gates on each of 120 tasks are more."""


def file(client: MlflowClient, version: Version, report: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a report with its version; returns what the log says of it."""
    text = json.dumps(dict(report), separators=(",", ":"), sort_keys=True)
    digest = content_hash(json.loads(text))
    parts = [text[begin : begin + MOST_CHARACTERS] for begin in range(0, len(text), MOST_CHARACTERS)]
    for number, part in reversed(list(enumerate(parts))):  # the first last: where it is, all are
        client.set_model_version_tag(version.name, version.version, _tag(digest, number), part)
    return {"verdict": report.get("verdict"), "digest": digest}


def read(client: MlflowClient, name: str, move: Move) -> dict[str, Any] | None:
    """The whole of it; None where there was none, or it is gone, and nothing in it where it is no report any more."""
    if move.report is None or move.version is None or "digest" not in move.report:
        return move.report
    return whole(client.get_model_version(name, move.version).tags, str(move.report["digest"]))


def whole(tags: Mapping[str, str], digest: str) -> dict[str, Any] | None:
    """The report of this digest among a version's tags; as :func:`read`."""
    parts: list[str] = []
    while (part := tags.get(_tag(digest, len(parts)))) is not None:
        parts.append(part)
    try:
        return dict(json.loads("".join(parts))) if parts else None
    except (ValueError, TypeError):  # changed by hand: its digest will not be the one in the log
        return {}


def _tag(digest: str, part: int) -> str:
    return f"{REPORT_TAG}{digest[:16]}{f'.{part}' if part else ''}"


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
