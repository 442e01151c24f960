"""Who is champion: one compare-and-set on the alias, with an append-only log behind it.

Every move is a tag ``gem.move.000001`` of the registered model that carries the hash of the one before, so that a
changed or missing entry shows.

Moves of one model are serialised by a file lock. It lies beside a SQLite store, or in the home folder when the registry
is a server: then all who promote have to share that folder.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from gem_core.errors import GemError
from gem_core.records import filed_reports
from gem_core.records.mlflow_connection import explained, sqlite_file
from gem_core.records.promotion_log import (
    ALIAS_ACTIONS,
    CHAMPION_ACTIONS,
    JUDGED,
    Grounds,
    Move,
    broken_link,
    content_hash,
    last_of,
    moves_done,
    read_log,
    reigns,
    shortened,
)
from gem_core.records.standing import Standing, spoken
from gem_core.records.versions import ALIAS, CHALLENGER, CHAMPION, SHADOW, Version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gem_core.records.registry import Registry

LOCK_SECONDS = 120.0


class Championship:
    """Who is champion of one registered model, who waits, and how it came to that. Constructing it calls nobody.

    Versions are given by number or alias. Asking again for what has just been done (a retry after a crash) returns the
    move that did it.
    """

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry = registry
        self._name = name

    def history(self) -> list[Move]:
        """Every move, approval, refusal and rollback, oldest first."""
        return read_log(self._registry.model(self._name).tags)

    def report(self, move: Move) -> dict[str, Any] | None:
        """The gate report behind a move, whole; None where there was none, or it is gone."""
        with explained(self._registry.uri):
            return filed_reports.read(self._registry.client, self._name, move)

    def faults(self) -> list[str]:
        """Everything that is wrong with log and aliases, a sentence each; nothing is repaired.

        The chain of hashes, the reports that the log vouches for, the alias against the last move, a move that was
        interrupted, and aliases whose names only look like ours.
        """
        model = self._registry.model(self._name)
        moves = read_log(model.tags)
        done = moves_done(model.tags)
        broken = broken_link(moves, done)
        faults = [f"the log is damaged: {broken}"] if broken else []
        for move in moves:
            report = self.report(move)
            digest = (move.report or {}).get("digest")
            if digest and (report is None or content_hash(report) != digest):
                faults.append(f"the gate report of move {move.number} is {'gone' if report is None else 'changed'}")
        aliases = {alias: str(version) for alias, version in model.aliases.items()}
        last, latest = last_of(moves, CHAMPION_ACTIONS), last_of(moves, ALIAS_ACTIONS)
        logged = last.to_version if last else None
        if latest is not None and latest.number > done:
            faults.append(f"move {latest.number} ({latest.action}) was interrupted; the next command finishes it")
        elif aliases.get(CHAMPION) != logged:
            faults.append(f"the champion is {aliases.get(CHAMPION) or 'nobody'}, and the log says {logged or 'nobody'}")
        strange = sorted(alias for alias in aliases if not re.fullmatch(ALIAS, alias))
        return [*faults, *(f"the alias {one!r} was set by other means and is not read by gem" for one in strange)]

    def waits(self, version: str) -> bool:
        """Whether a version waits for a person."""
        return CHALLENGER in self._get(version).aliases

    def register(self, version: str, grounds: Grounds) -> Move:
        """Log that a version is there."""
        with self._held() as now:
            return last_of(now.moves, ("register",), version) or now.note("register", version, grounds)

    def refuse(self, version: str, grounds: Grounds) -> Move:
        """Log that a version was not promoted, and why; where it waited by an earlier report, it does so no more."""
        found = self._get(version)
        grounds = self._filed(found, grounds)
        with self._held() as now:
            same = last_of(now.moves, JUDGED, found.version)
            said = same and (same.action, same.report, same.reason)
            if same is not None and said == ("refuse", grounds.report, shortened(grounds.reason)):
                return same
            return now.note("refuse", found.version, grounds)

    def challenge(self, version: str, grounds: Grounds, *, expected: str | None) -> Move:
        """Let a version wait for a person.

        Raises:
            GemError: The champion is another by now than the one it was judged against, or the report is about other
                weights.
        """
        return self._present(version, grounds, expected, "challenge", CHALLENGER)

    def shadow(self, version: str, grounds: Grounds, *, expected: str | None) -> Move:
        """Let a version run beside the champion; as :meth:`challenge`."""
        return self._present(version, grounds, expected, "shadow", SHADOW)

    def promote(self, version: str, grounds: Grounds, *, expected: str | None) -> Move:
        """Make a version champion, if the champion is still the one it was compared with.

        Args:
            version: Which.
            grounds: Of a decision by gates, with their report.
            expected: The champion's version number as the decision saw it; None when there was none.

        Raises:
            GemError: The champion is another by now, the version already is the champion, or the report is not a
                passing one of this version against this champion.
        """
        found = self._get(version)
        if grounds.report is not None and (verdict := grounds.report.get("verdict")) != "pass":
            raise GemError(
                f"the gate report of {found.name} version {found.version} says {verdict!r}: "
                "not promoted (a person may: gem promote)"
            )
        grounds = self._judged(found, grounds, expected)
        with self._held() as now:
            last = last_of(now.moves, CHAMPION_ACTIONS)
            if now.champion == found.version:
                if last is not None and last.action == "promote" and last.from_version == expected:
                    return last
                raise GemError(f"version {found.version} of {self._name} already is its champion: nothing to promote")
            now.insist(expected, found.version)
            return now.move("promote", found.version, grounds)

    def approve(self, version: str, grounds: Grounds, *, seen: str | None = None) -> Move:
        """Make the waiting challenger champion, if the champion is still the one it was judged against.

        Args:
            version: Which.
            grounds: The report is the one by which it waits.
            seen: The hash of the move by which it waited when the person looked at it, where that is known.

        Raises:
            GemError: The version does not wait for an approval, the champion is another by now, or it was judged anew.
        """
        number = self._get(version).version
        with self._held() as now:
            last = last_of(now.moves, CHAMPION_ACTIONS)
            if now.champion == number and last is not None and last.action == "approve":
                return last
            waiting = _waiting(now, number, seen)
            now.insist(waiting.from_version, number)
            return now.move("approve", number, replace(grounds, report=waiting.report))

    def decline(self, version: str, grounds: Grounds, *, seen: str | None = None) -> Move:
        """Take the waiting challenger out of the running; arguments as for :meth:`approve`.

        Raises:
            GemError: The version does not wait for an approval, or it was judged anew.
        """
        number = self._get(version).version
        with self._held() as now:
            same = last_of(now.moves, JUDGED, number)
            if same is not None and same.action == "decline":
                return same
            return now.move("decline", number, replace(grounds, report=_waiting(now, number, seen).report))

    def rollback(self, grounds: Grounds, *, to: str | None = None, leaving: str | None = None) -> Move:
        """Make the champion before the present one, or a named version, champion again.

        Args:
            grounds: Why.
            to: The named version.
            leaving: The champion to give up, by number, where the person named it.

        Raises:
            GemError: Nothing to go back to, the named version already is champion, or the champion is another by now.
        """
        number = None if to is None else self._get(to).version
        there = {version.version for version in self._registry.versions(self._name)}
        with self._held() as now:
            done = now.finished
            if done is not None and done.action == "rollback" and number in (None, done.to_version):
                return done  # what is asked for again after a crash: once more would go one champion too far
            if leaving not in (None, now.champion):
                raise GemError(
                    f"the champion of {self._name} is {spoken(now.champion)} by now, not {spoken(leaving)}: "
                    "nothing was rolled back"
                )
            before = [version for version in reigns(now.moves) if version in there and version != now.champion]
            if number is None and not before:
                raise GemError(
                    f"{self._name} has had no champion before {spoken(now.champion)}: name the version to roll back to"
                )
            target = number or before[-1]
            if target == now.champion:
                raise GemError(f"version {target} of {self._name} already is its champion: nothing to roll back")
            return now.move("rollback", target, grounds)

    def repair(self) -> None:
        """Finish a move that a crash left half done."""
        with self._held():
            pass

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else moves or adds to this model meanwhile. Not re-entrant.

        Raises:
            GemError: Somebody else has held the lock for two minutes.
        """
        lock = self._lock()
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=LOCK_SECONDS):
                yield
        except Timeout as error:
            raise GemError(
                f"another promotion of {self._name} has held {lock} for {LOCK_SECONDS:.0f} s: see what it waits for"
            ) from error

    def _lock(self) -> Path:
        uri = self._registry.uri
        database = sqlite_file(uri)
        place = database.parent if database else self._registry.settings.home
        name = hashlib.sha256(f"{database or uri}\n{self._name}".encode()).hexdigest()[:16]
        return place / "locks" / f"{name}.lock"

    @contextmanager
    def _held(self) -> Iterator[Standing]:
        """The critical section: the state is read, and settled, under the lock."""
        with explained(self._registry.uri), self.locked():
            now = Standing(self._registry.client, self._registry.model(self._name))
            now.settle()
            yield now

    def _get(self, version: str) -> Version:
        return self._registry.get(self._name, version)

    def _present(
        self, version: str, grounds: Grounds, expected: str | None, action: Literal["challenge", "shadow"], alias: str
    ) -> Move:
        found = self._get(version)
        grounds = self._judged(found, grounds, expected)
        with self._held() as now:
            now.insist(expected, found.version)
            same = last_of(now.moves, JUDGED, found.version)
            said = same and (same.action, same.report, same.from_version)
            stands = now.aliases.get(alias) == found.version
            if same is not None and stands and said == (action, grounds.report, expected):
                return same
            return now.move(action, found.version, grounds)

    def _judged(self, version: Version, grounds: Grounds, expected: str | None) -> Grounds:
        """As :meth:`_filed`, of a report that is about this version and this champion."""
        if grounds.report is not None:
            filed_reports.check(grounds.report, version, self._get(expected) if expected else None)
        return self._filed(version, grounds)

    def _filed(self, version: Version, grounds: Grounds) -> Grounds:
        """The grounds as the log keeps them: the report itself is with the version."""
        if grounds.report is None:
            return grounds
        with explained(self._registry.uri):
            return replace(grounds, report=filed_reports.file(self._registry.client, version, grounds.report))


def _waiting(now: Standing, version: str, seen: str | None) -> Move:
    """The move by which a version came to wait for a person, who saw the one of the hash ``seen``."""
    move, waits = last_of(now.moves, ("challenge",), version), now.aliases.get(CHALLENGER)
    if move is None or waits != version:
        raise GemError(
            f"version {version} of {now.name} does not wait for an approval: "
            + (f"version {waits} does" if waits else "nothing does (gem promote needs none)")
        )
    if seen not in (None, move.hash):
        raise GemError(f"version {version} of {now.name} was judged anew meanwhile: look at it again")
    return move
