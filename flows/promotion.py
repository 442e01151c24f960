"""What becomes of a judged version: promoted, waiting for a person, in shadow, or refused; always with a reason.

The registry's log is the only memory. A flow that dies while it waits has lost nothing: the version stays challenger,
`gem approve` promotes it with or without a flow, and the same `gem run` finds it waiting and waits on.
"""

import getpass
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar
from uuid import UUID

from prefect import get_run_logger
from prefect.exceptions import FlowPauseTimeout, NotPausedError
from prefect.flow_runs import pause_flow_run, resume_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run

from flows.outcome import Decision
from flows.progress import report
from gem_core.judging.gates import GateReport
from gem_core.recipe import Recipe
from gem_core.records.mlflow_connection import UnavailableError
from gem_core.records.registry import Registry
from gem_core.records.versions import Version

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_HOURS = 12.0
"""How long a flow waits for a registry that is down: a night."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds between two tries, doubled each time."""
POLL_SECONDS = 5.0
"""Between two looks at whether a person has decided elsewhere."""


class Answer(RunInput):
    """What a person fills in where the Prefect UI asks for an approval."""

    approve: bool
    """Make the challenger champion; otherwise it is declined."""
    reason: str
    """Kept in the log."""
    who: str = ""
    """Your name; the user of the flow when empty."""


def patient(step: Callable[P, T]) -> Callable[P, T]:
    """Let a step wait while the registry is down, and go on when it is back.

    The step is called again from its beginning, so it has to be one that may be repeated: all that write to the
    registry are, and what was promoted before the registry went away is found and not promoted twice.
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
                get_run_logger().warning("waiting for the registry: %s", down)
                report("registry", 0.0, f"is down; asked again in {pause:.0f} s")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    return waiting


def decide(registry: Registry, recipe: Recipe, version: Version, expected: str | None, verdict: GateReport) -> Decision:
    """Move the champion alias, let the version wait, or refuse it, by the verdict and the recipe's policy.

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
    entry = {"who": getpass.getuser(), "reason": reason, "report": verdict.model_dump(mode="json")}
    name, number = version.name, version.version
    if expected == number:
        return Decision(promoted=True, sentence="is champion already; its weights did not change")
    if step == "human" or (step == "promote" and recipe.promotion == "manual"):
        registry.challenge(name, number, expected=expected, **entry)
        waiting = f"waits as challenger for `gem approve {name} {number}`; {reason}"
        return Decision(promoted=False, waits=True, sentence=waiting)
    if step == "promote" and recipe.promotion == "shadow":
        registry.challenge(name, number, expected=expected, shadow=True, **entry)
        return Decision(promoted=False, sentence=f"runs in shadow until `gem promote {name} {number}`; {reason}")
    if step == "promote":
        registry.promote(name, number, expected=expected, **entry)
        return Decision(promoted=True, sentence=f"promoted to champion (was {expected or 'none'}); {reason}")
    registry.refuse(name, number, **entry)
    if step == "more-items":
        needed = f"about {verdict.needed_items:,}" if verdict.needed_items else "more"
        if verdict.exhausted:
            there = f"all items that there are were measured, and {needed} would be needed"
            return Decision(promoted=False, sentence=f"not promoted: {there}; {reason}")
        return Decision(promoted=False, sentence=f"not promoted: measure {needed} items and run again; {reason}")
    return Decision(promoted=False, sentence=f"not promoted; {reason}")


def await_person(registry: Registry, version: Version, hours: float) -> Decision:
    """Pause the flow run until a person has decided: in the Prefect UI, by `gem approve`, or by `gem decline`.

    Returns:
        What was decided; that the version still waits, when nobody came in time.
    """
    name, number, decided = version.name, version.version, threading.Event()
    watcher = threading.Thread(target=_watch, args=(registry, version, flow_run.id, decided), daemon=True)
    watcher.start()
    report("approval", 0.0, f"gem approve {name} {number}, or in the Prefect UI")
    try:
        answer = pause_flow_run(wait_for_input=Answer, timeout=max(1, int(hours * 3600)), poll_interval=1)
    except FlowPauseTimeout:
        return Decision(promoted=False, waits=True, sentence=f"still waits for `gem approve {name} {number}`")
    finally:
        decided.set()
    who = answer.who or getpass.getuser()
    settle = patient(lambda: _settle(registry, version, answer, who))
    return settle()


def _settle(registry: Registry, version: Version, answer: Answer, who: str) -> Decision:
    """Carry out what the person said in the UI; what was decided elsewhere meanwhile stands."""
    name, number = version.name, version.version
    if registry.waits(name, number):
        move = registry.approve if answer.approve else registry.decline
        move(name, number, who=who, reason=answer.reason or "in the Prefect UI")
    last = next(move for move in reversed(registry.history(name)) if move.version == number)
    reigning = registry.champion(name)
    promoted = reigning is not None and reigning.version == number
    return Decision(promoted=promoted, sentence=f"{last.action}d by {last.who}: {last.reason}")


def _watch(registry: Registry, version: Version, flow_run_id: str, decided: threading.Event) -> None:
    """Wake the flow run when its version waits no more, because somebody decided by command."""
    while not decided.wait(POLL_SECONDS):
        try:
            if registry.waits(version.name, version.version):
                continue
            resume_flow_run(UUID(flow_run_id), run_input={"approve": True, "reason": "decided by command", "who": ""})
        except (UnavailableError, NotPausedError):
            continue
        return
