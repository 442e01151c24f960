"""What is known of two models already: the entries of the score store, whatever evaluation once asked for them.

Nothing is measured here. Where both models have a task under equal settings, those scores are taken; where they only
have it under unequal ones, each keeps its latest whole one, and the comparison says how they differ.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gem_core.evaluation.plan import METHOD
from gem_core.evaluation.scores import Scores
from gem_core.evaluation.store import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)


@dataclass
class _Measured:
    """One task of one model under one settings digest."""

    entries: list[Entry] = field(default_factory=list)
    """One for each read-out."""
    written: float = 0.0
    """When the latest of them was, in seconds since the epoch."""

    @property
    def rank(self) -> tuple[bool, float]:
        """Which of several is compared: a whole task before a quick look, then the latest."""
        return not any(score.limited for entry in self.entries for score in entry.scores), self.written


Tasks = dict[tuple[str, str], dict[str, _Measured]]
"""Kind and task -> settings digest -> what was measured."""


def recorded_pair(
    store: Path, first: tuple[str, str], second: tuple[str, str]
) -> tuple[Scores, Scores, Mapping[str, Mapping[str, Any]]]:
    """The recorded scores of two models, chosen to be comparable where they can be.

    Args:
        store: The score store's folder.
        first: Content digest and reference.
        second: The same of the other model.

    Returns:
        Both scores, and the settings behind the digests in them.
    """
    ours, theirs = (_recorded(store / digest) for digest, _ in (first, second))
    chosen: tuple[list[Entry], list[Entry]] = ([], [])
    for task in dict.fromkeys((*ours, *theirs)):
        pair = ours.get(task, {}), theirs.get(task, {})
        equal = pair[0].keys() & pair[1].keys()
        for kept, measured in zip(chosen, pair, strict=True):
            if measured:
                among = {digest: pair[0][digest] for digest in equal} or measured
                kept.extend(measured[max(among, key=lambda digest: among[digest].rank)].entries)
    scores = [
        Scores(
            model=digest,
            reference=reference,
            tasks=tuple(score for entry in entries for score in entry.scores),
            seconds=round(sum(entry.seconds for entry in entries), 3),
        )
        for (digest, reference), entries in zip((first, second), chosen, strict=True)
    ]
    return scores[0], scores[1], {entry.scores[0].settings: entry.settings for part in chosen for entry in part}


def recorded_continuations(store: Path, chosen: str, beside: Sequence[str]) -> dict[str, dict[str, Entry]]:
    """What a model wrote, and what others wrote under the very same settings.

    Of several settings those are taken that most of the others share, then the latest.

    Args:
        store: The score store's folder.
        chosen: The model's content digest.
        beside: Those of the others.

    Returns:
        Decoding -> content digest -> entry; others that have none under those settings are left out.
    """
    known = {model: _recorded(store / model) for model in (chosen, *beside)}
    found: dict[str, dict[str, Entry]] = {}
    for (kind, decoding), measured in known[chosen].items():
        if kind == "generation":
            alike = {
                digest: {
                    model: tasks[kind, decoding][digest].entries[0]
                    for model, tasks in known.items()
                    if digest in tasks.get((kind, decoding), {})
                }
                for digest in measured
            }
            found[decoding] = alike[max(measured, key=lambda digest: (len(alike[digest]), measured[digest].written))]
    return found


def _recorded(folder: Path) -> Tasks:
    """Every readable entry of one model that was measured as it would be now."""
    tasks: Tasks = {}
    for path in sorted(folder.glob("*.json")):
        try:
            entry = Entry.model_validate_json(path.read_bytes())
        except (ValidationError, OSError) as error:
            log.warning("Score entry %s cannot be read and is left out: %s", path, str(error).splitlines()[0])
            continue
        if entry.settings.get("method", METHOD) != METHOD:
            continue
        if entry.scores and entry.model == folder.name:
            task = (str(entry.settings.get("kind")), str(entry.settings.get("task")))
            measured = tasks.setdefault(task, {}).setdefault(entry.scores[0].settings, _Measured())
            measured.entries.append(entry)
            measured.written = max(measured.written, path.stat().st_mtime)
    return tasks
