"""The log of promotions: an append-only chain of moves, each with the hash of the one before. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gem_core.errors import GemError

MOVE_TAG = "gem.move."
"""A move is the registered model's tag ``gem.move.000001``."""
DONE_TAG = "gem.moves_done"
"""The registered model's tag: the number of the last move whose aliases were set."""
REASON_CHARACTERS = 2000
"""A longer reason is cut: PostgreSQL holds 5,000 characters of such a tag, and a move has to fit."""

Action = Literal["register", "challenge", "shadow", "promote", "approve", "decline", "refuse", "rollback", "outside"]
CHAMPION_ACTIONS = ("promote", "approve", "rollback", "outside")
ALIAS_ACTIONS = ("challenge", "shadow", "promote", "approve", "decline", "rollback")
"""Those that move an alias after they are logged."""
JUDGED = (*ALIAS_ACTIONS, "refuse")
"""What may have become of a version."""


@dataclass(frozen=True)
class Grounds:
    """Who decides, and why: what the log keeps of every decision."""

    who: str
    """User or program."""
    reason: str
    """A sentence."""
    report: Mapping[str, Any] | None = None
    """The gate report behind it; without one a person decides."""


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
    """The gate report behind it: its ``verdict`` and ``digest``. The whole is a tag of the version."""
    previous: str
    """Hash of the entry before; empty for the first."""
    hash: str = ""
    """Over everything above."""

    def sealed(self) -> "Move":
        """The entry with its hash."""
        return self.model_copy(update={"hash": self.content_hash()})

    def content_hash(self) -> str:
        """64 hex digits over all fields but the hash itself."""
        return content_hash(self.model_dump(mode="json", exclude={"hash"}))


def content_hash(content: Mapping[str, Any]) -> str:
    """64 hex digits over a JSON document, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(dict(content), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def shortened(reason: str) -> str:
    """A reason as far as the log keeps it."""
    return reason if len(reason) <= REASON_CHARACTERS else f"{reason[: REASON_CHARACTERS - 1]}…"


def read_log(tags: Mapping[str, str]) -> list[Move]:
    """The moves among a registered model's tags, in order.

    Raises:
        GemError: One of them is no move: somebody changed it, or a later release wrote it.
    """
    moves = []
    for key in sorted(key for key in tags if key.startswith(MOVE_TAG)):
        try:
            moves.append(Move.model_validate_json(tags[key]))
        except ValidationError as error:
            raise GemError(
                f"the log is damaged: {key} is no entry of it ({error.errors()[0]['msg']}); nothing is moved until a "
                "person has looked at the tags of the registered model"
            ) from error
    return moves


def moves_done(tags: Mapping[str, str]) -> int:
    """The number of the last move that was carried out whole; 0 before the first.

    Raises:
        GemError: Somebody wrote something else there.
    """
    done = tags.get(DONE_TAG, "0")
    if not done.isdecimal():
        raise GemError(
            f"the log is damaged: {DONE_TAG} is {done!r} and no number; nothing is moved until a person has looked at "
            "the tags of the registered model"
        )
    return int(done)


def broken_link(moves: Sequence[Move], done: int = 0) -> str | None:
    """What is wrong with a log, in a sentence; None when every entry is whole and follows the one before.

    Args:
        moves: The log.
        done: :func:`moves_done`: a log that ends before it has lost its end, which no hash tells.
    """
    before = ""
    for number, move in enumerate(moves, start=1):
        if move.number != number:
            return f"move {number} is missing"
        if move.content_hash() != move.hash:
            return f"move {number} was changed after it was written"
        if move.previous != before:
            return f"move {number} does not follow move {number - 1}"
        before = move.hash
    return f"move {len(moves) + 1} is missing" if len(moves) < done else None


def last_of(moves: Sequence[Move], actions: Sequence[str], version: str | None = None) -> Move | None:
    """The latest move of these actions, about this version where one is named."""
    return next((m for m in reversed(moves) if m.action in actions and version in (None, m.version)), None)


def taken_back(moves: Sequence[Move], version: str) -> Move | None:
    """The rollback by which a version was given up as champion; None where it was made champion again since."""
    for move in reversed(moves):
        if move.action == "rollback" and move.from_version == version:
            return move
        if move.action in CHAMPION_ACTIONS and move.to_version == version:
            return None
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
