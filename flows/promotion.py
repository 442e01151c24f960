"""What becomes of a judged version: promoted, waiting for a person, in shadow, or refused; always with a reason.

The registry's log is the only memory: what was decided before a crash is found, and not decided again.
"""

import getpass
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from typing import ParamSpec, TypeVar

from prefect import get_run_logger
from prefect.exceptions import MissingContextError

from flows.outcome import Decision
from flows.progress import report
from gem_core.judging.gates import GateReport
from gem_core.recipe import Recipe
from gem_core.records.mlflow_connection import UnavailableError
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import JUDGED, Grounds, Move, content_hash, last_of, taken_back
from gem_core.records.registry import Registry
from gem_core.records.versions import Version

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_HOURS = 12.0
"""How long a flow waits for a registry that is down: a night."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds between two tries, doubled each time."""


def patient(step: Callable[P, T]) -> Callable[P, T]:
    """Let a step wait while the registry is down, and go on when it is back.

    The step is called again from its beginning, so it has to be one that may be repeated: all that write to the
    registry are, and what was promoted before the registry went away is found and not promoted twice. A command that is
    no flow (an ablation, the demo's first question) waits alike, and has no flow run to log it in.
    """

    @wraps(step)
    def waiting(*args: P.args, **kwargs: P.kwargs) -> T:
        pause, deadline = FIRST_PAUSE, time.monotonic() + PATIENCE_HOURS * 3600
        while True:
            try:
                return step(*args, **kwargs)
            except UnavailableError as down:
                if time.monotonic() + pause > deadline:
                    raise
                with suppress(MissingContextError):
                    get_run_logger().warning("waiting for the registry: %s", down)
                report("registry", 0.0, f"is down; asked again in {pause:.0f} s")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    return waiting


def decide(registry: Registry, recipe: Recipe, version: Version, expected: str | None, verdict: GateReport) -> Decision:
    """Move the champion alias, let the version wait, or refuse it, by the verdict and the recipe's policy.

    What a person has said stands: a version that was rolled back waits for one instead of being promoted again, and a
    challenger that was declined is not put forward again by the same report against the same champion.

    Args:
        registry: Where.
        recipe: Whose policy counts.
        version: What was judged.
        expected: The champion's version it was judged against; None when there was none.
        verdict: The gate report.

    Raises:
        GemError: The champion is another by now.
    """
    reason, step = verdict.sentence(), verdict.next_step
    grounds = Grounds(getpass.getuser(), reason, verdict.model_dump(mode="json"))
    name, number, championship = version.name, version.version, Championship(registry, version.name)
    if expected == number:
        return Decision(promoted=True, sentence="is champion already; its weights did not change")
    moves = championship.history()
    back = taken_back(moves, number) if step == "promote" and recipe.promotion == "automatic" else None
    if step == "human" or (step == "promote" and recipe.promotion == "manual") or back is not None:
        if no := _declined(moves, number, expected, content_hash(verdict.model_dump(mode="json"))):
            return Decision(promoted=False, sentence=f"not promoted: {no.who} declined it: {no.reason}; {reason}")
        championship.challenge(number, grounds, expected=expected)
        why = f", since {back.who} rolled it back ({back.reason})" if back else ""
        waiting = f"waits as challenger for `gem approve {name} {number}`{why}; {reason}"
        return Decision(promoted=False, waits=True, sentence=waiting)
    if step == "promote" and recipe.promotion == "shadow":
        championship.shadow(number, grounds, expected=expected)
        return Decision(promoted=False, sentence=f"runs in shadow until `gem promote {name} {number}`; {reason}")
    if step == "promote":
        championship.promote(number, grounds, expected=expected)
        return Decision(promoted=True, sentence=f"promoted to champion (was {expected or 'none'}); {reason}")
    championship.refuse(number, grounds)
    if step == "more-items":
        needed = f"about {verdict.needed_items:,}" if verdict.needed_items else "more"
        if verdict.exhausted:
            there = f"all items that there are were measured, and {needed} would be needed"
            return Decision(promoted=False, sentence=f"not promoted: {there}; {reason}")
        return Decision(promoted=False, sentence=f"not promoted: measure {needed} items and run again; {reason}")
    return Decision(promoted=False, sentence=f"not promoted; {reason}")


def _declined(moves: Sequence[Move], version: str, champion: str | None, report: str) -> Move | None:
    """The answer of a person who was asked this very question last: a report's digest, against a champion."""
    last = last_of(moves, JUDGED, version)
    if last is None or last.action != "decline" or last.from_version != champion:
        return None
    return last if (last.report or {}).get("digest") == report else None
