"""Who is champion: one compare-and-set on the alias, with an append-only log behind it.

Every move is a tag ``gem.move.000001`` of the registered model that carries the hash of the one before, so that a
changed or missing entry shows. A move is written in three steps: the log entry, the alias, the mark that both are done.
Whoever takes the lock next finishes what a crash left half done, and records what somebody moved by other means.

Moves of one model are serialised by a file lock. It lies beside a SQLite store, or in the home folder when the registry
is a server: then all who promote have to share that folder.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from gem_core.errors import GemError
from gem_core.records.promotion_log import (
    ALIAS_ACTIONS,
    CHAMPION_ACTIONS,
    MOVE_TAG,
    REASON_CHARACTERS,
    Action,
    broken_link,
    last_of,
    read_log,
    reigns,
)
from gem_core.records.promotion_log import Move as Move

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

CHAMPION, CHALLENGER, SHADOW = "champion", "challenger", "shadow"
DONE_TAG = "gem.moves_done"
LOCK_SECONDS = 120.0

Report = dict[str, Any] | None


class Championship:
    """The aliases and the log of one registered model."""

    def __init__(self, client: MlflowClient, name: str, lock: Path) -> None:
        self._client = client
        self._name = name
        self._lock = lock
        self._moves: list[Move] = []
        self._aliases: dict[str, str] = {}
        self._finished: Move | None = None

    def history(self) -> list[Move]:
        """The log, oldest first."""
        return read_log(self._client.get_registered_model(self._name).tags)

    def note(self, action: Literal["register", "refuse"], version: str, who: str, reason: str, report: Report) -> Move:
        """Log something that moves no alias. Said again, it is logged once: by a retry, or a rerun."""
        with self._held():
            same = last_of(self._moves, ("register",) if action == "register" else (*ALIAS_ACTIONS, "refuse"), version)
            again = same is not None and (action == "register" or (same.report, same.reason) == (report, reason))
            if same is not None and same.action == action and again:
                return same
            return self._append(action, version, self._champion, who, reason, report)

    def present(
        self,
        action: Literal["challenge", "shadow"],
        version: str,
        expected: str | None,
        who: str,
        reason: str,
        report: Report,
    ) -> Move:
        """Let a version wait for a person (``challenger``), or run beside the champion (``shadow``).

        Raises:
            GemError: The champion is another by now than the one it was judged against.
        """
        with self._held():
            self._insist(version, expected)
            same = last_of(self._moves, (*ALIAS_ACTIONS, "refuse"), version)
            alias = CHALLENGER if action == "challenge" else SHADOW
            again = same is not None and (same.action, same.report, same.from_version) == (action, report, expected)
            if same is not None and again and self._aliases.get(alias) == version:
                return same
            return self._move(action, version, self._champion, who, reason, report)

    def promote(self, version: str, expected: str | None, who: str, reason: str, report: Report) -> Move:
        """Make a version champion if the champion is still the expected one.

        Asking again for what has just been done (a retry after a crash) returns the move that did it.

        Raises:
            GemError: The champion is another by now, or the version already is the expected champion.
        """
        with self._held():
            last = last_of(self._moves, CHAMPION_ACTIONS)
            if self._champion == version:
                if last is not None and last.action == "promote" and last.from_version == expected:
                    return last
                raise GemError(f"version {version} of {self._name} already is its champion: nothing to promote")
            self._insist(version, expected)
            return self._move("promote", version, version, who, reason, report)

    def approve(self, version: str, who: str, reason: str, seen: str | None = None) -> Move:
        """Make the challenger champion, if the champion is still the one it was judged against.

        ``seen`` is the hash of the move by which it waited when the person looked at it, where that is known.

        Raises:
            GemError: The version does not wait for an approval, the champion is another by now, or it was judged anew.
        """
        with self._held():
            last = last_of(self._moves, CHAMPION_ACTIONS)
            if self._champion == version and last is not None and last.action == "approve":
                return last
            waiting = self._waiting(version, seen)
            self._insist(version, waiting.from_version)
            return self._move("approve", version, version, who, reason, waiting.report)

    def decline(self, version: str, who: str, reason: str, seen: str | None = None) -> Move:
        """Take a waiting challenger out of the running; ``seen`` as for :meth:`approve`.

        Raises:
            GemError: The version does not wait for an approval, or it was judged anew.
        """
        with self._held():
            same = last_of(self._moves, (*ALIAS_ACTIONS, "refuse"), version)
            if same is not None and same.action == "decline":
                return same
            return self._move("decline", version, self._champion, who, reason, self._waiting(version, seen).report)

    def rollback(self, who: str, reason: str, to: str | None, leaving: str | None = None) -> Move:
        """Make the champion before the present one, or a named version, champion again.

        ``leaving`` is the champion to give up, where the person named it.

        Raises:
            GemError: Nothing to go back to, the named version already is champion, or the champion is another by now.
        """
        with self._held():
            done = self._finished
            if done is not None and done.action == "rollback" and to in (None, done.to_version):
                return done  # what is asked for again after a crash: once more would go one champion too far
            if leaving not in (None, self._champion):
                raise GemError(
                    f"the champion of {self._name} is {_spoken(self._champion)} by now, not {_spoken(leaving)}: "
                    "nothing was rolled back"
                )
            stack = reigns(self._moves)
            if to is None and len(stack) < 2:
                raise GemError(
                    f"{self._name} has had no champion before {_spoken(self._champion)}: "
                    "name the version to roll back to"
                )
            target = to or stack[-2]
            if target == self._champion:
                raise GemError(f"version {target} of {self._name} already is its champion: nothing to roll back")
            return self._move("rollback", target, target, who, reason, None)

    def repair(self) -> None:
        """Finish a move that a crash left half done."""
        with self._held():
            pass

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The critical section: the state is read, and settled, under the lock."""
        with self.locked():
            self._read()
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else moves or adds to this model meanwhile. Not re-entrant.

        Raises:
            GemError: Somebody else has held the lock for two minutes.
        """
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._lock, timeout=LOCK_SECONDS):
                yield
        except Timeout as error:
            raise GemError(
                f"another promotion of {self._name} has held {self._lock} for {LOCK_SECONDS:.0f} s: "
                "see what it waits for"
            ) from error

    @property
    def _champion(self) -> str | None:
        return self._aliases.get(CHAMPION)

    def _insist(self, version: str, expected: str | None) -> None:
        if self._champion != expected:
            raise GemError(
                f"the champion of {self._name} is {_spoken(self._champion)} by now, not {_spoken(expected)}: "
                f"version {version} was not promoted; compare it with the new champion first"
            )

    def _waiting(self, version: str, seen: str | None) -> Move:
        """The move by which a version came to wait for a person, who saw the one of the hash ``seen``."""
        move = last_of(self._moves, ("challenge",), version)
        if move is None or self._aliases.get(CHALLENGER) != version:
            waits = self._aliases.get(CHALLENGER)
            raise GemError(
                f"version {version} of {self._name} does not wait for an approval: "
                + (f"version {waits} does" if waits else "nothing does (gem promote needs none)")
            )
        if seen not in (None, move.hash):
            raise GemError(f"version {version} of {self._name} was judged anew meanwhile: look at it again")
        return move

    def _read(self) -> None:
        model = self._client.get_registered_model(self._name)
        self._aliases = {alias: str(version) for alias, version in model.aliases.items()}
        self._moves = read_log(model.tags)
        self._finished = None
        self._settle(int(model.tags.get(DONE_TAG, "0")))

    def _settle(self, done: int) -> None:
        """Bring aliases and log together again."""
        last = last_of(self._moves, CHAMPION_ACTIONS)
        logged = last.to_version if last else None
        latest = last_of(self._moves, ALIAS_ACTIONS)
        if latest is not None and latest.number > done and self._champion in (latest.from_version, latest.to_version):
            logger.warning("finishing move %d of %s, which was interrupted", latest.number, self._name)
            self._finish(latest)
            self._finished = latest
        elif self._champion != logged:
            reason = f"found the alias on {_spoken(self._champion)}, not on {_spoken(logged)}"
            self._mark_done(self._append("outside", self._champion, self._champion, "unknown", reason, None))

    def _move(self, action: Action, version: str, champion: str | None, who: str, reason: str, report: Report) -> Move:
        move = self._append(action, version, champion, who, reason, report)
        self._finish(move)
        return move

    def _append(
        self, action: Action, version: str | None, to: str | None, who: str, reason: str, report: Report
    ) -> Move:
        broken = broken_link(self._moves)
        if broken is not None:
            raise GemError(
                f"the log of {self._name} is damaged ({broken}): nothing is moved until a person has looked at it"
            )
        last = last_of(self._moves, CHAMPION_ACTIONS)
        move = Move(
            number=len(self._moves) + 1,
            action=action,
            version=version,
            from_version=(last.to_version if last else None) if action == "outside" else self._champion,
            to_version=to,
            who=who,
            when=datetime.now(UTC),
            reason=reason if len(reason) <= REASON_CHARACTERS else f"{reason[: REASON_CHARACTERS - 1]}…",
            report=report,
            previous=self._moves[-1].hash if self._moves else "",
        ).sealed()
        self._client.set_registered_model_tag(self._name, f"{MOVE_TAG}{move.number:06d}", move.model_dump_json())
        self._moves.append(move)
        return move

    def _finish(self, move: Move) -> None:
        """What follows a logged move, as often as it is asked for: the aliases, then the mark that it is done."""
        if move.action in CHAMPION_ACTIONS and move.to_version is not None:
            self._point(CHAMPION, move.to_version)
        if move.action in ("challenge", "shadow"):
            self._point(CHALLENGER if move.action == "challenge" else SHADOW, move.version)
        else:
            for alias in (CHALLENGER, SHADOW):
                if self._aliases.get(alias) == move.version:
                    self._point(alias, None)
        self._mark_done(move)

    def _point(self, alias: str, to: str | None) -> None:
        if to is None:
            self._client.delete_registered_model_alias(self._name, alias)
            self._aliases.pop(alias, None)
        else:
            self._client.set_registered_model_alias(self._name, alias, to)
            self._aliases[alias] = to

    def _mark_done(self, move: Move) -> None:
        self._client.set_registered_model_tag(self._name, DONE_TAG, str(move.number))


def _spoken(version: str | None) -> str:
    return "nobody" if version is None else f"version {version}"
