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
    """Refuse a report that is about others than these two: swapped roles promote the wrong model.

    A version that another program registered has no digest to know it by, and is taken at its word.

    Args:
        report: Of the gates.
        candidate: What is to be promoted, or to wait.
        champion: What it is to replace; None when there is none.

    Raises:
        GemError: It is about other weights, or compares with a champion that is not there, or with none.
    """
    for role, known in (("candidate", candidate), ("champion", champion)):
        judged = report.get(role)
        if known is None and judged is not None:
            raise GemError(f"the gate report compares with a {role}, and there is none: not promoted; judge it again")
        if known is None or not known.digest or judged == known.digest:
            continue
        told = f"{known.name} version {known.version}"
        what = f"names no {role}, which is" if judged is None else f"is about other weights than the {role}'s,"
        raise GemError(f"the gate report {what} {told}: not promoted; judge it again")
