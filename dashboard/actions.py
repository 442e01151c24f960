"""What an operator does here: approve or decline a challenger, roll the champion back. The dashboard's only writing.

Each is one move of the registry, under its lock and in its log, about what the operator saw: it is refused when the
champion, or the report, is another by then. Afterwards the pages ask the registry anew, whatever they remembered.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dashboard import queries
from gem_core.errors import GemError
from gem_core.settings import Settings

if TYPE_CHECKING:
    from gem_core.records.promotion_log import Move

SIGNED = "{who} (dashboard)"
"""In the log: nobody had to prove the name, unlike the user of a command."""


@dataclass(frozen=True)
class Action:
    """What an operator is about to do, and the state it was decided on."""

    kind: Literal["approve", "decline", "rollback"]
    name: str
    """The registered model."""
    version: str
    """Whom it is about: the challenger, or who is to be champion again."""
    champion: str | None
    """The champion that the operator saw."""
    seen: str | None = None
    """Hash of the move by which the challenger waited."""


def allowed() -> bool:
    """Whether this dashboard may move a champion (``GEM_DASHBOARD_READ_ONLY``)."""
    return not Settings().dashboard_read_only


def perform(action: Action, who: str, reason: str) -> "Move":
    """Carry it out; returns its entry in the log.

    Args:
        action: What.
        who: The operator's name.
        reason: Why, for the log.

    Raises:
        GemError: No name or no reason, a dashboard that only reads, a store out of reach, or another state than seen.
    """
    from gem_core.records.promotion import Championship
    from gem_core.records.promotion_log import Grounds
    from gem_core.records.registry import Registry

    if not allowed():
        raise GemError("this dashboard only reads (GEM_DASHBOARD_READ_ONLY): use the gem command")
    who, reason = " ".join(who.split()), reason.strip()
    if not who:
        raise GemError("say who you are: the log keeps the name")
    if not reason:
        raise GemError("say why: the log keeps the reason")
    championship, grounds = Championship(Registry(Settings()), action.name), Grounds(SIGNED.format(who=who), reason)
    try:
        if action.kind == "approve":
            return championship.approve(action.version, grounds, seen=action.seen)
        if action.kind == "decline":
            return championship.decline(action.version, grounds, seen=action.seen)
        return championship.rollback(grounds, to=action.version, leaving=action.champion)
    finally:
        queries.forget()  # also after a refusal: what was shown is old
