"""The aliases and the log of one registered model, as they stand while nobody else moves them.

A move is written in three steps: the log entry, the alias, the mark that both are done. Whoever settles them next
finishes what a crash left half done, and records what somebody moved by other means.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gem_core.errors import GemError
from gem_core.records.promotion_log import (
    ALIAS_ACTIONS,
    CHAMPION_ACTIONS,
    DONE_TAG,
    JUDGED,
    MOVE_TAG,
    Action,
    Grounds,
    Move,
    broken_link,
    last_of,
    moves_done,
    read_log,
    shortened,
)
from gem_core.records.versions import CHALLENGER, CHAMPION, SHADOW

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

logger = logging.getLogger(__name__)


class Standing:
    """Good for as long as the lock of its model is held (:meth:`gem_core.records.promotion.Championship.locked`)."""

    def __init__(self, client: MlflowClient, model: RegisteredModel) -> None:
        self.name: str = model.name
        self.moves = read_log(model.tags)
        self.aliases = {alias: str(version) for alias, version in model.aliases.items()}
        self.finished: Move | None = None
        """The move that was found half done, and finished by :meth:`settle`."""
        self._done = moves_done(model.tags)
        self._client = client

    @property
    def champion(self) -> str | None:
        """The version that reigns."""
        return self.aliases.get(CHAMPION)

    def settle(self) -> None:
        """Bring aliases and log together again; a damaged log is left as it is, and who would move it is told."""
        if broken_link(self.moves, self._done) is not None:
            return
        last = last_of(self.moves, CHAMPION_ACTIONS)
        logged = last.to_version if last else None
        latest = last_of(self.moves, ALIAS_ACTIONS)
        if last is not None and latest is not None and last.number > latest.number > self._done:
            self._mark_done(last)  # the alias was found moved by other means, and a crash came before the mark
        half_done = latest is not None and latest.number > self._done
        meant = latest is not None and half_done and self.champion in (latest.from_version, latest.to_version)
        if latest is not None and meant and self._can_finish(latest):
            logger.warning("finishing move %d of %s, which was interrupted", latest.number, self.name)
            self._finish(latest)
            self.finished = latest
        elif self.champion != logged:
            found = Grounds("unknown", f"found the alias on {spoken(self.champion)}, not on {spoken(logged)}")
            self._mark_done(self._append("outside", self.champion, found, before=logged, after=self.champion))
        elif latest is not None and meant:
            self._mark_done(latest)
        self._drop_refused()

    def insist(self, expected: str | None, version: str) -> None:
        """Refuse what was decided about a version when another was champion.

        Raises:
            GemError: The champion is not the expected one.
        """
        if self.champion != expected:
            raise GemError(
                f"the champion of {self.name} is {spoken(self.champion)} by now, not {spoken(expected)}: "
                f"version {version} was not promoted; compare it with the new champion first"
            )

    def note(self, action: Action, version: str, grounds: Grounds) -> Move:
        """Log what moves no champion; a version that is refused keeps no alias."""
        move = self._append(action, version, grounds, before=self.champion, after=self.champion)
        self._drop_refused()
        return move

    def move(self, action: Action, version: str, grounds: Grounds) -> Move:
        """Log an action on a version, and set the aliases that it moves.

        Raises:
            GemError: The log is damaged; nothing was moved.
        """
        after = version if action in CHAMPION_ACTIONS else self.champion
        move = self._append(action, version, grounds, before=self.champion, after=after)
        self._finish(move)
        return move

    def _append(
        self, action: Action, version: str | None, grounds: Grounds, *, before: str | None, after: str | None
    ) -> Move:
        broken = broken_link(self.moves, self._done)
        if broken is not None:
            raise GemError(
                f"the log of {self.name} is damaged ({broken}): nothing is moved until a person has looked at it"
            )
        move = Move(
            number=len(self.moves) + 1,
            action=action,
            version=version,
            from_version=before,
            to_version=after,
            who=grounds.who,
            when=datetime.now(UTC),
            reason=shortened(grounds.reason),
            report=None if grounds.report is None else dict(grounds.report),
            previous=self.moves[-1].hash if self.moves else "",
        ).sealed()
        self._client.set_registered_model_tag(self.name, f"{MOVE_TAG}{move.number:06d}", move.model_dump_json())
        self.moves.append(move)
        return move

    def _drop_refused(self) -> None:
        """Take the alias from a version that was refused since it got it: it waits by what is said no more."""
        for alias in (CHALLENGER, SHADOW):
            held = self.aliases.get(alias)
            last = last_of(self.moves, JUDGED, held) if held else None
            if last is not None and last.action == "refuse":
                self._point(alias, None)

    def _can_finish(self, move: Move) -> bool:
        """Whether the version that a move points an alias to is still there: somebody may have deleted it since."""
        from mlflow.exceptions import MlflowException

        if move.version is None or move.action not in (*CHAMPION_ACTIONS, "challenge", "shadow"):
            return True
        try:
            self._client.get_model_version(self.name, move.version)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def _finish(self, move: Move) -> None:
        """What follows a logged move, as often as it is asked for: the aliases, then the mark that it is done."""
        if move.action in CHAMPION_ACTIONS and move.to_version is not None:
            self._point(CHAMPION, move.to_version)
        if move.action in ("challenge", "shadow"):
            self._point(CHALLENGER if move.action == "challenge" else SHADOW, move.version)
        else:
            for alias in (CHALLENGER, SHADOW):
                if self.aliases.get(alias) == move.version:
                    self._point(alias, None)
        self._mark_done(move)

    def _point(self, alias: str, to: str | None) -> None:
        if to is None:
            self._client.delete_registered_model_alias(self.name, alias)
            self.aliases.pop(alias, None)
        else:
            self._client.set_registered_model_alias(self.name, alias, to)
            self.aliases[alias] = to

    def _mark_done(self, move: Move) -> None:
        self._client.set_registered_model_tag(self.name, DONE_TAG, str(move.number))
        self._done = move.number


def spoken(version: str | None) -> str:
    """A champion in words."""
    return "nobody" if version is None else f"version {version}"
