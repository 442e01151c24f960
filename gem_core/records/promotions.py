"""The part of the registry that moves aliases: promote, approve, roll back, and what the log says of it.

What a gate report said is kept with its version, under its digest; the log carries the digest, and so vouches for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from gem_core.errors import GemError
from gem_core.records.mlflow_connection import explained, sqlite_file
from gem_core.records.promotion import CHALLENGER, CHAMPION, DONE_TAG, Championship, Move
from gem_core.records.promotion_log import ALIAS_ACTIONS, CHAMPION_ACTIONS, broken_link, content_hash, last_of, read_log
from gem_core.records.versions import ALIAS, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

    from gem_core.settings import Settings

REPORT_TAG = "gem.report."
"""A version's tag ``gem.report.<16 digits of its digest>``: the gate report behind a move, whole."""


class Promotions(ABC):
    """What a registry knows about who is champion."""

    uri: str
    _settings: Settings

    @property
    @abstractmethod
    def client(self) -> MlflowClient:
        """The connection."""

    @abstractmethod
    def get(self, name: str, version: str) -> Version:
        """One version, by number, alias or ``latest``."""

    @abstractmethod
    def _model(self, name: str) -> RegisteredModel: ...

    def history(self, name: str) -> list[Move]:
        """Every move, approval, refusal and rollback of a model, oldest first."""
        self._model(name)
        with explained(self.uri):
            return self._championship(name).history()

    def report(self, name: str, move: Move) -> dict[str, Any] | None:
        """The gate report behind a move, whole; None where there was none, or it is gone."""
        if move.report is None or move.version is None or "digest" not in move.report:
            return move.report
        with explained(self.uri):
            tags = self.client.get_model_version(name, move.version).tags
        text = tags.get(f"{REPORT_TAG}{move.report['digest'][:16]}")
        return None if text is None else json.loads(text)

    def faults(self, name: str) -> list[str]:
        """Everything that is wrong with a model's log and aliases, a sentence each; nothing is repaired.

        The chain of hashes, the reports that the log vouches for, the alias against the last move, a move that was
        interrupted, and aliases whose names only look like ours.
        """
        model = self._model(name)
        moves = read_log(model.tags)
        broken = broken_link(moves)
        faults = [f"the log is damaged: {broken}"] if broken else []
        for move in moves:
            report = self.report(name, move)
            digest = (move.report or {}).get("digest")
            if digest and (report is None or content_hash(report) != digest):
                faults.append(f"the gate report of move {move.number} is {'gone' if report is None else 'changed'}")
        aliases = {alias: str(version) for alias, version in model.aliases.items()}
        last, latest = last_of(moves, CHAMPION_ACTIONS), last_of(moves, ALIAS_ACTIONS)
        logged = last.to_version if last else None
        if latest is not None and latest.number > int(model.tags.get(DONE_TAG, "0")):
            faults.append(f"move {latest.number} ({latest.action}) was interrupted; the next command finishes it")
        elif aliases.get(CHAMPION) != logged:
            faults.append(f"the champion is {aliases.get(CHAMPION) or 'nobody'}, and the log says {logged or 'nobody'}")
        strange = sorted(alias for alias in aliases if not re.fullmatch(ALIAS, alias))
        return [*faults, *(f"the alias {one!r} was set by other means and is not read by gem" for one in strange)]

    def promote(
        self,
        name: str,
        version: str,
        *,
        expected: str | None,
        who: str,
        reason: str,
        report: Mapping[str, Any] | None = None,
    ) -> Move:
        """Make a version champion, if the champion is still the one it was compared with.

        Args:
            name: The registered model.
            version: Number or alias of the version.
            expected: The champion's version number as the decision saw it; None when there was none.
            who: The user or program that decides.
            reason: A sentence for the log.
            report: The gate report behind it; without one a person decides.

        Raises:
            GemError: The champion is another by now, no such version, or the report is not a passing one of this
                version against this champion.
        """
        found = self.get(name, version)
        if report is not None:
            self._belongs(name, found, expected, report)
        with explained(self.uri):
            filed = self._filed(found, report)
            return self._championship(name).promote(found.version, expected, who, reason, filed)

    def challenge(
        self,
        name: str,
        version: str,
        *,
        expected: str | None,
        who: str,
        reason: str,
        report: Mapping[str, Any] | None = None,
        shadow: bool = False,
    ) -> Move:
        """Let a version wait for a person as ``challenger``, or run beside the champion as ``shadow``."""
        found = self.get(name, version)
        action: Literal["challenge", "shadow"] = "shadow" if shadow else "challenge"
        with explained(self.uri):
            filed = self._filed(found, report)
            return self._championship(name).present(action, found.version, expected, who, reason, filed)

    def approve(self, name: str, version: str, *, who: str, reason: str, seen: str | None = None) -> Move:
        """Make the waiting challenger champion; refused if the champion is another than it was judged against.

        With ``seen``, the hash of the move by which it waited when a person looked, also if it was judged anew since.
        """
        number = self.get(name, version).version
        with explained(self.uri):
            return self._championship(name).approve(number, who, reason, seen)

    def decline(self, name: str, version: str, *, who: str, reason: str, seen: str | None = None) -> Move:
        """Take the waiting challenger out of the running; ``seen`` as for :meth:`approve`."""
        number = self.get(name, version).version
        with explained(self.uri):
            return self._championship(name).decline(number, who, reason, seen)

    def waits(self, name: str, version: str) -> bool:
        """Whether a version waits for a person."""
        return CHALLENGER in self.get(name, version).aliases

    def refuse(
        self, name: str, version: str, *, who: str, reason: str, report: Mapping[str, Any] | None = None
    ) -> Move:
        """Log that a version was not promoted, and why."""
        found = self.get(name, version)
        with explained(self.uri):
            return self._championship(name).note("refuse", found.version, who, reason, self._filed(found, report))

    def rollback(self, name: str, *, who: str, reason: str, to: str | None = None, leaving: str | None = None) -> Move:
        """Make the champion before the present one champion again, or the version (number or alias) ``to``.

        With ``leaving``, a version's number, only if that is the champion.
        """
        self._model(name)
        number = None if to is None else self.get(name, to).version
        with explained(self.uri):
            return self._championship(name).rollback(who, reason, number, leaving)

    def repair(self, name: str) -> None:
        """Finish a promotion that a crash left half done."""
        self._model(name)
        with explained(self.uri):
            self._championship(name).repair()

    def _championship(self, name: str) -> Championship:
        database = sqlite_file(self.uri)
        place = database.parent if database else self._settings.home
        lock = hashlib.sha256(f"{database or self.uri}\n{name}".encode()).hexdigest()[:16]
        return Championship(self.client, name, place / "locks" / f"{lock}.lock")

    def _filed(self, version: Version, report: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Keep a report with its version; returns what the log says of it."""
        if report is None:
            return None
        text = json.dumps(dict(report), separators=(",", ":"), sort_keys=True)
        digest = content_hash(json.loads(text))
        self.client.set_model_version_tag(version.name, version.version, f"{REPORT_TAG}{digest[:16]}", text)
        return {"verdict": report.get("verdict"), "digest": digest}

    def _belongs(self, name: str, version: Version, expected: str | None, report: Mapping[str, Any]) -> None:
        """Refuse a report that does not speak for this promotion: swapped roles promote the wrong model."""
        if report.get("verdict") != "pass":
            raise GemError(
                f"the gate report of {name} version {version.version} says {report.get('verdict')!r}: not promoted "
                "(a person may: gem promote)"
            )
        reigning = None if expected is None else self.get(name, expected)
        for role, known in (("candidate", version), ("champion", reigning)):
            judged = report.get(role)
            if judged and known and known.digest and judged != known.digest:
                raise GemError(
                    f"the gate report is about other weights than the {role}'s, version {known.version} of {name}: "
                    "not promoted; judge it again"
                )
