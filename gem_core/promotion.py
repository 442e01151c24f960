"""Who is champion: one compare-and-set on the alias, with an append-only log behind it.

Every move is a tag ``gem.move.000001`` of the registered model that carries the hash of the one before, so that a
changed or missing entry shows. A move is written in three steps: the log entry, the alias, the mark that both are done.
Whoever takes the lock next finishes what a crash left half done, and records what somebody moved by other means.

Moves of one model are serialised by a file lock. It lies beside a SQLite store, or in the home folder when the registry
is a server: then all who promote have to share that folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from gem_core.errors import GemError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
MOVE_TAG = "gem.move."
DONE_TAG = "gem.moves_done"
LOCK_SECONDS = 120.0

Action = Literal["register", "challenge", "promote", "refuse", "rollback", "outside"]
CHAMPION_ACTIONS = ("promote", "rollback", "outside")


class Move(BaseModel):
    """One entry of the log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    """From 1, without gaps."""
    action: Action
    """``outside``: the alias was moved by other means than this program, and found so."""
    version: str | None
    """The version it is about."""
    from_version: str | None
    """The champion before."""
    to_version: str | None
    """The champion after; the same as before unless the action moves it."""
    who: str
    """User or program."""
    when: datetime
    """In UTC."""
    reason: str
    """A sentence."""
    report: dict[str, Any] | None = None
    """The gate report behind it."""
    previous: str
    """Hash of the entry before; empty for the first."""
    hash: str = ""
    """Over everything above."""

    def sealed(self) -> Move:
        """The entry with its hash."""
        return self.model_copy(update={"hash": self.content_hash()})

    def content_hash(self) -> str:
        """64 hex digits over all fields but the hash itself."""
        content = self.model_dump(mode="json", exclude={"hash"})
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_log(tags: Mapping[str, str]) -> list[Move]:
    """The moves among a registered model's tags, in order."""
    keys = sorted(key for key in tags if key.startswith(MOVE_TAG))
    return [Move.model_validate_json(tags[key]) for key in keys]


def broken_link(moves: Sequence[Move]) -> str | None:
    """What is wrong with a log, in a sentence; None when every entry is whole and follows the one before."""
    before = ""
    for number, move in enumerate(moves, start=1):
        if move.number != number:
            return f"move {number} is missing"
        if move.content_hash() != move.hash:
            return f"move {number} was changed after it was written"
        if move.previous != before:
            return f"move {number} does not follow move {number - 1}"
        before = move.hash
    return None


def reigns(moves: Sequence[Move]) -> list[str]:
    """The champions that a rollback can go back through, the present one last: what was rolled back is gone.

    >>> def move(action, to): return Move(number=1, action=action, version=to, from_version=None, to_version=to,
    ...     who="a", when=datetime.now(UTC), reason="", previous="")
    >>> reigns([move("promote", "1"), move("promote", "2"), move("rollback", "1"), move("promote", "3")])
    ['1', '3']
    """
    stack: list[str] = []
    for move in moves:
        if move.action not in CHAMPION_ACTIONS or move.to_version is None:
            continue
        if move.action == "rollback" and move.to_version in stack:
            del stack[stack.index(move.to_version) + 1 :]
        elif not stack or stack[-1] != move.to_version:
            stack.append(move.to_version)
    return stack


class Championship:
    """The aliases and the log of one registered model."""

    def __init__(self, client: MlflowClient, name: str, lock: Path) -> None:
        self._client = client
        self._name = name
        self._lock = lock
        self._moves: list[Move] = []
        self._champion: str | None = None
        self._challenger: str | None = None

    def history(self) -> list[Move]:
        """The log, oldest first."""
        return read_log(self._client.get_registered_model(self._name).tags)

    def note(
        self, action: Literal["register", "refuse"], version: str, who: str, reason: str, report: dict[str, Any] | None
    ) -> Move:
        """Log something that moves no alias; the same entry for the same version is logged once for ``register``."""
        with self._held():
            if action == "register":
                for move in self._moves:
                    if move.action == "register" and move.version == version:
                        return move
            return self._append(action, version, self._champion, who, reason, report)

    def challenge(self, version: str, who: str, reason: str, report: dict[str, Any] | None) -> Move:
        """Name a version challenger: it has passed its gates and waits for a person."""
        with self._held():
            move = self._append("challenge", version, self._champion, who, reason, report)
            self._client.set_registered_model_alias(self._name, CHALLENGER, version)
            return move

    def promote(self, version: str, expected: str | None, who: str, reason: str, report: dict[str, Any] | None) -> Move:
        """Make a version champion if the champion is still the expected one.

        Asking again for what has just been done (a retry after a crash) returns the move that did it.

        Raises:
            GemError: The champion is another by now, or the version already is the expected champion.
        """
        with self._held():
            last = next((move for move in reversed(self._moves) if move.action in CHAMPION_ACTIONS), None)
            if self._champion == version:
                if last is not None and last.action == "promote" and last.from_version == expected:
                    return last
                raise GemError(f"version {version} of {self._name} already is its champion: nothing to promote")
            if self._champion != expected:
                raise GemError(
                    f"the champion of {self._name} is {_spoken(self._champion)} by now, not {_spoken(expected)}: "
                    f"version {version} was not promoted; compare it with the new champion first"
                )
            return self._move("promote", version, who, reason, report)

    def rollback(self, who: str, reason: str, to: str | None) -> Move:
        """Make the champion before the present one, or a named version, champion again.

        Raises:
            GemError: Nothing to go back to, or the named version already is champion.
        """
        with self._held():
            stack = reigns(self._moves)
            if to is None and len(stack) < 2:
                raise GemError(
                    f"{self._name} has had no champion before {_spoken(self._champion)}: "
                    "name the version to roll back to"
                )
            target = to or stack[-2]
            if target == self._champion:
                raise GemError(f"version {target} of {self._name} already is its champion: nothing to roll back")
            return self._move("rollback", target, who, reason, None)

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

    def _read(self) -> None:
        model = self._client.get_registered_model(self._name)
        aliases = {alias: str(version) for alias, version in model.aliases.items()}
        self._moves = read_log(model.tags)
        self._champion, self._challenger = aliases.get(CHAMPION), aliases.get(CHALLENGER)
        self._settle(int(model.tags.get(DONE_TAG, "0")))

    def _settle(self, done: int) -> None:
        """Bring alias and log together again."""
        last = next((move for move in reversed(self._moves) if move.action in CHAMPION_ACTIONS), None)
        logged = last.to_version if last else None
        unfinished = last is not None and last.number > done
        if last is not None and unfinished and self._champion in (last.from_version, logged):
            logger.warning("finishing move %d of %s, which was interrupted", last.number, self._name)
            self._point_champion(logged)
            self._mark_done(last)
        elif self._champion != logged:
            reason = f"found the alias on {_spoken(self._champion)}, not on {_spoken(logged)}"
            move = self._append("outside", self._champion, self._champion, "unknown", reason, None)
            self._mark_done(move)

    def _move(
        self, action: Literal["promote", "rollback"], to: str, who: str, reason: str, report: dict[str, Any] | None
    ) -> Move:
        move = self._append(action, to, to, who, reason, report)
        self._point_champion(to)
        self._mark_done(move)
        return move

    def _append(
        self, action: Action, version: str | None, to: str | None, who: str, reason: str, report: dict[str, Any] | None
    ) -> Move:
        broken = broken_link(self._moves)
        if broken is not None:
            raise GemError(
                f"the log of {self._name} is damaged ({broken}): nothing is moved until a person has looked at it"
            )
        before = self._moves[-1].hash if self._moves else ""
        last = next((move for move in reversed(self._moves) if move.action in CHAMPION_ACTIONS), None)
        move = Move(
            number=len(self._moves) + 1,
            action=action,
            version=version,
            from_version=(last.to_version if last else None) if action == "outside" else self._champion,
            to_version=to,
            who=who,
            when=datetime.now(UTC),
            reason=reason,
            report=report,
            previous=before,
        ).sealed()
        self._client.set_registered_model_tag(self._name, f"{MOVE_TAG}{move.number:06d}", move.model_dump_json())
        self._moves.append(move)
        return move

    def _point_champion(self, to: str | None) -> None:
        if to is not None:
            self._client.set_registered_model_alias(self._name, CHAMPION, to)
        if to is not None and self._challenger == to:
            self._client.delete_registered_model_alias(self._name, CHALLENGER)
        self._champion = to

    def _mark_done(self, move: Move) -> None:
        self._client.set_registered_model_tag(self._name, DONE_TAG, str(move.number))


def _spoken(version: str | None) -> str:
    return "nobody" if version is None else f"version {version}"
