"""Waiting for a person: the flow run pauses, with a form in the Prefect UI, until somebody has decided anywhere.

Nothing of the decision lives in the flow: the version stays challenger when the flow dies, `gem approve` and the
dashboard promote it with or without a flow, and the same `gem run` finds it waiting and waits on. A flow run that died
keeps its form in the UI; what is answered there is found and carried out by the one that waits now, or by the next.
"""

import getpass
import threading
from contextlib import suppress
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.exceptions import FlowPauseTimeout, PrefectException
from prefect.flow_runs import pause_flow_run, resume_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run

from flows.outcome import Decision
from flows.progress import report
from flows.promotion import patient
from gem_core.errors import GemError
from gem_core.records.mlflow_connection import UnavailableError
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import Grounds, Move, last_of
from gem_core.records.registry import Registry
from gem_core.records.versions import Version

POLL_SECONDS = 5.0
"""Between two looks at whether a person has decided elsewhere."""
DONE = {"approve": "approved", "decline": "declined", "promote": "promoted", "rollback": "made champion again"}
"""What became of a version, by the action of the log."""
MOST_FORMS = 200
"""Flow runs that are looked through for an answer: as often was the wait for one version taken up."""


class Answer(RunInput):
    """What a person fills in where the Prefect UI asks for an approval."""

    approve: bool
    """Make the challenger champion; otherwise it is declined."""
    reason: str
    """Kept in the log."""
    who: str = ""
    """Your name; the user of the flow when empty."""


ELSEWHERE = {"approve": False, "reason": "decided elsewhere", "who": "gem"}
"""Wakes a flow run whose version waits no more; it decides nothing."""
PASSING = (httpx.HTTPError, PrefectException, RuntimeError)
"""What Prefect raises when its server is down, or a flow run is not paused (yet, or any more)."""


def await_person(registry: Registry, version: Version, hours: float) -> Decision:
    """Pause the flow run until a person has decided: in the Prefect UI, in the dashboard, or by command.

    Returns:
        What was decided; that the version still waits, when nobody came in time.
    """
    name, number, decided = version.name, version.version, threading.Event()
    championship = Championship(registry, name)
    challenge = patient(lambda: last_of(championship.history(), ("challenge",), number))()
    if challenge is None:
        return Decision(promoted=False, sentence="waits for nobody: its alias was set by other means")
    own, tag = UUID(flow_run.id), f"waits:{name}/{number}/{challenge.hash[:12]}"
    with get_client(sync_client=True) as client:
        client.update_flow_run(own, tags={*flow_run.tags, tag})
    watcher = threading.Thread(target=_watch, args=(championship, challenge, own, tag, decided), daemon=True)
    watcher.start()
    report("approval", 0.0, f"gem approve {name} {number}, or in the dashboard or the Prefect UI")
    try:
        answer = pause_flow_run(
            wait_for_input=Answer.with_initial_data(description=_question(version, challenge)),
            timeout=max(1, int(hours * 3600)),
            poll_interval=1,
        )
    except FlowPauseTimeout:
        return Decision(promoted=False, waits=True, sentence=f"still waits for `gem approve {name} {number}`")
    finally:
        decided.set()
    decision = patient(lambda: _settle(registry, name, challenge, answer))()
    if not decision.waits:
        _wake_others(own, tag)
    return decision


def _question(version: Version, challenge: Move) -> str:
    """What the form says above its fields, in Markdown."""
    against = f"in place of version {challenge.from_version}" if challenge.from_version else "as the first one"
    return (
        f"Shall **{version.name} version {version.version}** become champion, {against}?\n\n"
        f"{challenge.reason}. The gate report is among the artifacts of this flow run."
    )


def _settle(registry: Registry, name: str, challenge: Move, answer: Answer) -> Decision:
    """Carry out what the person said in the UI; what was decided elsewhere meanwhile stands."""
    number, championship = challenge.version or "", Championship(registry, name)
    if answer.model_dump() != ELSEWHERE and _waits(championship, challenge):
        decide = championship.approve if answer.approve else championship.decline
        try:
            grounds = Grounds(answer.who or getpass.getuser(), answer.reason or "in the Prefect UI")
            decide(number, grounds, seen=challenge.hash)
        except UnavailableError:
            raise
        except GemError as refusal:  # the champion moved: a person's answer came too late, and the run did not fail
            return Decision(promoted=False, waits=True, sentence=str(refusal))
    last = last_of(championship.history(), ("approve", "decline", "promote", "rollback"), number)
    reigning = registry.champion(name)
    promoted = reigning is not None and reigning.version == number
    if last is None or last.number < challenge.number:
        return Decision(promoted=promoted, sentence="waits no more: a later judgement took its place")
    return Decision(promoted=promoted, sentence=f"{DONE[last.action]} by {last.who}: {last.reason}")


def _waits(championship: Championship, challenge: Move) -> bool:
    """Whether the version still waits by this very move."""
    latest = last_of(championship.history(), ("challenge",))
    return latest == challenge and championship.waits(challenge.version or "")


def _watch(championship: Championship, challenge: Move, own: UUID, tag: str, decided: threading.Event) -> None:
    """Wake the flow run when its version waits no more, or when the form of a flow run that died was filled in."""
    while not decided.wait(POLL_SECONDS):
        try:
            answer = _answered(own, tag) if _waits(championship, challenge) else ELSEWHERE
            if answer is None:
                continue
            resume_flow_run(own, run_input=answer)
        except (GemError, *PASSING):
            continue  # asked again
        return


def _answered(own: UUID, tag: str) -> dict[str, Any] | None:
    """What was filled in for the same version in the form of another flow run, and not carried out."""
    with get_client(sync_client=True) as client:
        for other in client.read_flow_runs(flow_run_filter=_tagged(tag), limit=MOST_FORMS):
            inputs = client.filter_flow_run_input(other.id, key_prefix="paused-", limit=10, exclude_keys=set())
            found = next((given for given in inputs if given.key.endswith("-response")), None)
            if other.id != own and found is not None:
                return Answer.model_validate_json(found.value).model_dump()
    return None


def _wake_others(own: UUID, tag: str) -> None:
    """Close the forms of other flow runs that wait for the same version: nobody would act on them."""
    with suppress(*PASSING):  # the decision is made and logged: that a form stays open must not undo it
        with get_client(sync_client=True) as client:
            others = client.read_flow_runs(flow_run_filter=_tagged(tag), limit=MOST_FORMS)
        for other in others:
            if other.id != own and other.state is not None and other.state.is_paused():
                resume_flow_run(other.id, run_input=ELSEWHERE)


def _tagged(tag: str) -> FlowRunFilter:
    return FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))
