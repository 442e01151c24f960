"""What becomes of a judged version, and waiting: for a person, for a registry that is down."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.input.run_input import keyset_from_paused_state
from prefect.states import Paused, Running
from prefect.testing.utilities import prefect_test_harness
from werkzeug.serving import make_server

from flows import ablation, approval, promotion, recipes
from flows.approval import Answer, await_person
from flows.commands import runs
from flows.promotion import decide, patient
from flows.reproduction import reproduce
from gem_core.errors import GemError
from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.judging.gates import judge
from gem_core.recipe.gates import Gate
from gem_core.records.lineage import Lineage
from gem_core.records.mlflow_connection import UnavailableError
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import Grounds
from gem_core.records.registration import register
from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings

LINEAGE = Lineage(base_model="b", base_revision="r", base_digest="d", data_digest="d", recipe={}, recipe_digest="r")


def make_versions(settings, folder, count, name="model"):
    run_id = Tracking(settings.mlflow_uri).start_run("runs", name, {})
    for number in range(1, count + 1):
        model = folder / f"model-{number}"
        model.mkdir()
        (model / "config.json").write_text(f'{{"number": {number}}}')
        register(Registry(settings), name, model, run_id, LINEAGE, who="tests")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    home = tmp_path_factory.mktemp("gem")
    make_versions(Settings(home=home, tracking_uri=None), home, 9)
    return Registry(Settings(home=home, tracking_uri=None))


def championship(registry, name="model"):
    return Championship(registry, name)


def judged(registry, version, value, name="model", champion=None, **rule):
    """The report of a version with this score, against a base of 60 and, where there is one, a champion of 60."""

    def scores(model, points):
        task = TaskScore(task="exam", kind="language", read_out="", metric="acc", value=points, items=100, settings="s")
        return Scores(model=model, reference=model, tasks=(task,))

    gate = Gate(**{"name": "g", "metric": "language", "against": "base", "at_least": 0.0, **rule})
    reigning = champion and scores(registry.get(name, champion).digest, 60.0)
    return judge(scores(registry.get(name, version).digest, value), scores("base", 60.0), reigning, [gate])


OPEN = {"test": "superiority"}  # inconclusive, since there are no records


@pytest.mark.parametrize(
    ("policy", "value", "rule", "action", "said"),
    [
        ("automatic", 61.0, {}, "promote", "promoted to champion"),
        ("automatic", 59.0, {}, "refuse", "not promoted; fail"),
        ("automatic", 61.0, OPEN, "refuse", "not promoted; inconclusive"),
        ("automatic", 61.0, {**OPEN, "inconclusive": "human"}, "challenge", "gem approve model"),
        ("automatic", 61.0, {**OPEN, "inconclusive": "more-items"}, "refuse", "measure more items and run again"),
        ("manual", 61.0, {}, "challenge", "gem approve model"),
        ("manual", 59.0, {}, "refuse", "not promoted"),
        ("shadow", 61.0, {}, "shadow", "gem promote model"),
        ("shadow", 59.0, {}, "refuse", "not promoted"),
    ],
)
def test_verdict_and_policy_decide_together(registry, policy, value, rule, action, said):
    reigning = registry.champion("model")
    expected = reigning and reigning.version
    number = next(str(n) for n in range(1, 8) if str(n) != expected)
    version, verdict = registry.get("model", number), judged(registry, number, value, champion=expected, **rule)
    recipe = SimpleNamespace(promotion=policy)
    decision = decide(registry, recipe, version, expected, verdict)
    assert said in decision.sentence
    assert decision.promoted == (action == "promote")
    assert decision.waits == (action == "challenge")
    logged = championship(registry).history()
    assert decide(registry, recipe, version, expected, verdict).waits == decision.waits
    assert championship(registry).history() == logged, "a rerun logs nothing again"
    assert (logged[-1].action, logged[-1].version) == (action, number) or value == 59.0
    assert championship(registry).faults() == []


AUTOMATIC, MANUAL = SimpleNamespace(promotion="automatic"), SimpleNamespace(promotion="manual")


def decided_again(registry, name, number, recipe, expected):
    """What the same run would decide, whose every step is known."""
    verdict = judged(registry, number, 61.0, name, champion=expected)
    return decide(registry, recipe, registry.get(name, number), expected, verdict)


def test_a_rerun_does_not_undo_a_rollback(registry, tmp_path):
    name = "rolled-back"
    make_versions(registry.settings, tmp_path, 2, name)
    assert decided_again(registry, name, "1", AUTOMATIC, None).promoted
    assert decided_again(registry, name, "2", AUTOMATIC, "1").promoted
    championship(registry, name).rollback(Grounds("somebody", "bad on our queries"))
    decision = decided_again(registry, name, "2", AUTOMATIC, "1")
    assert (decision.promoted, decision.waits) == (False, True)
    assert "somebody rolled it back (bad on our queries)" in decision.sentence
    assert registry.champion(name).version == "1"
    championship(registry, name).approve("2", Grounds("somebody", "mended elsewhere"))
    championship(registry, name).promote("1", Grounds("somebody", "a newer index"), expected="2")
    assert decided_again(registry, name, "2", AUTOMATIC, "1").promoted, "what a person brought back is like any other"


def test_a_rerun_does_not_ask_again_what_a_person_declined(registry, tmp_path):
    name = "declined"
    make_versions(registry.settings, tmp_path, 2, name)
    assert decided_again(registry, name, "1", MANUAL, None).waits
    championship(registry, name).decline("1", Grounds("somebody", "too slow"))
    logged = championship(registry, name).history()
    decision = decided_again(registry, name, "1", MANUAL, None)
    assert (decision.promoted, decision.waits) == (False, False)
    assert "somebody declined it: too slow" in decision.sentence
    assert championship(registry, name).history() == logged
    championship(registry, name).promote("2", Grounds("somebody", "first"), expected=None)
    assert decided_again(registry, name, "1", MANUAL, "2").waits, "against another champion it is another question"


def wait_for(condition, seconds=30, every=0.1):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(every)


@pytest.fixture(scope="module")
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def waiting(prefect, registry, monkeypatch):
    """A flow in which a version comes to wait for a person."""
    monkeypatch.setattr(approval, "POLL_SECONDS", 0.3)

    @flow
    def wait(number: str, hours: float = 0.1) -> promotion.Decision:
        challenge(registry, number)
        return await_person(registry, registry.get("model", number), hours)

    return wait


def challenge(registry, number):
    reigning = registry.champion("model")
    expected = reigning and reigning.version
    return championship(registry).challenge(number, Grounds("gates", "passed"), expected=expected)


def meanwhile(person):
    thread = threading.Thread(target=person)
    thread.start()
    return thread


def forms(registry, number):
    """The flow runs that wait, or waited, for a version."""
    (move,) = [m for m in championship(registry).history() if (m.action, m.version) == ("challenge", number)][-1:]
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=approval._tagged(f"waits:model/{number}/{move.hash[:12]}"))


def fill_in(flow_run_id, **answer):
    """What the Prefect UI posts when the form of a paused flow run is submitted."""
    with get_client(sync_client=True) as client:
        assert client.resume_flow_run(flow_run_id, run_input=answer).status == "ACCEPT"


def form_of_a_dead_flow(registry, number):
    """What a flow run leaves behind that is killed while it waits."""
    move, state = challenge(registry, number), Paused(timeout_seconds=900, reschedule=False, pause_key="1")
    state.state_details.run_input_keyset = keyset_from_paused_state(state)
    with get_client(sync_client=True) as client:
        dead = client.create_flow_run(flow(form_of_a_dead_flow), parameters={"registry": None, "number": number})
        client.update_flow_run(dead.id, tags=[f"waits:model/{number}/{move.hash[:12]}"])
        client.set_flow_run_state(dead.id, Running())
        assert client.set_flow_run_state(dead.id, state).status == "ACCEPT"
    Answer.save(state.state_details.run_input_keyset, flow_run_id=dead.id)
    return dead.id


@pytest.mark.slow
def test_a_flow_waits_until_a_person_has_decided_by_command(registry, waiting):
    nobody = waiting("5", 1 / 3600)
    assert (nobody.promoted, nobody.waits) == (False, True)
    assert championship(registry).waits("5"), "nobody came, and the version waits on"

    def person():
        wait_for(lambda: championship(registry).waits("6") and forms(registry, "6"))
        championship(registry).approve("6", Grounds("a person", "I looked"))

    thread = meanwhile(person)
    decision = waiting("6")
    thread.join()
    assert decision.promoted
    assert decision.sentence == "approved by a person: I looked"
    assert registry.champion("model").version == "6"


@pytest.mark.slow
def test_the_form_in_the_prefect_ui_decides(registry, waiting):
    def person():
        wait_for(
            lambda: championship(registry).waits("8") and any(run.state.is_paused() for run in forms(registry, "8"))
        )
        time.sleep(1)  # the form itself follows the state
        fill_in(forms(registry, "8")[0].id, approve=False, reason="it swears", who="Ada")

    thread = meanwhile(person)
    decision = waiting("8")
    thread.join()
    assert (decision.promoted, decision.waits) == (False, False)
    assert decision.sentence == "declined by Ada: it swears"
    assert championship(registry).history()[-1].who == "Ada"


@pytest.mark.slow
def test_the_form_of_a_flow_that_died_still_counts(registry, waiting):
    answered, forgotten = form_of_a_dead_flow(registry, "9"), form_of_a_dead_flow(registry, "9")
    fill_in(answered, approve=True, reason="I read fifty of them", who="Ada")
    assert championship(registry).waits("9"), "nobody was there to read it"
    decision = waiting("9")
    assert decision.promoted
    assert decision.sentence == "approved by Ada: I read fifty of them"
    assert [run.state.is_paused() for run in forms(registry, "9") if run.id == forgotten] == [False], (
        "its form is closed"
    )


@pytest.mark.slow
def test_an_answer_that_comes_too_late_promotes_nobody(registry, waiting):
    dead = form_of_a_dead_flow(registry, "9" if registry.champion("model").version != "9" else "8")
    number = next(m for m in reversed(championship(registry).history()) if m.action == "challenge").version
    before = registry.champion("model").version
    fill_in(dead, approve=True, reason="late")
    championship(registry).promote("2", Grounds("another", "faster"), expected=before)

    @flow
    def wait_on():
        return await_person(registry, registry.get("model", number), 0.1)

    decision = wait_on()
    assert (decision.promoted, decision.waits) == (False, True)
    assert "is version 2 by now" in decision.sentence
    assert registry.champion("model").version == "2"


# --- a registry that is down ---


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def late_server(registry, monkeypatch):
    """The address of an MLflow server over the registry's store, and what brings it up."""
    from mlflow import set_registry_uri, set_tracking_uri
    from mlflow.server import app
    from mlflow.server.handlers import initialize_backend_stores

    port, servers = free_port(), []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry.uri)  # the server would set it, for good

    def come():
        initialize_backend_stores(registry.uri, registry.uri)
        servers.append(make_server("127.0.0.1", port, app, threaded=True))
        servers[0].serve_forever()

    yield come
    for server in servers:
        server.shutdown()
    set_tracking_uri(None)  # a server's process takes its store for the address of all
    set_registry_uri(None)


@pytest.mark.slow
def test_making_a_version_again_waits_for_a_registry_that_is_down(prefect, late_server, monkeypatch, tmp_path):
    monkeypatch.setenv("GEM_HOME", str(tmp_path))
    monkeypatch.setattr(promotion, "FIRST_PAUSE", 0.2)
    monkeypatch.setattr(promotion, "LONGEST_PAUSE", 0.2)
    waits = threading.Event()
    monkeypatch.setattr(promotion, "report", lambda *_: waits.set())
    coming = meanwhile(lambda: waits.wait(timeout=30) and late_server())
    with pytest.raises(GemError, match="the version's recipe is not one of this platform"):  # so it has been read
        reproduce("model", "1")
    assert waits.is_set()
    assert coming.is_alive()


def next_seed(_registry):
    assert runs._next_seed() == 1  # the registry has no sandbox


def record_an_ablation(registry):
    Tracking(registry.uri).start_run("sandbox-ablation", "sandbox", {"gem.run_key": "ablation-sandbox-late"})
    recipe, settings = recipes.load("sandbox", []), Settings()
    ablation._record(recipe, "sandbox-late", [], "| variant |", settings)
    (found,) = Tracking(settings.mlflow_uri).runs("sandbox-ablation")
    assert (found.status, found.tags["gem.run_key"]) == ("FINISHED", "ablation-sandbox-late")


@pytest.mark.slow
@pytest.mark.parametrize("command", [next_seed, record_an_ablation])
def test_a_command_that_is_no_flow_waits_for_a_registry_that_is_down(
    registry, late_server, monkeypatch, tmp_path, command
):
    monkeypatch.setenv("GEM_HOME", str(tmp_path))
    monkeypatch.setattr(promotion, "FIRST_PAUSE", 0.2)
    monkeypatch.setattr(promotion, "LONGEST_PAUSE", 0.2)
    waits = threading.Event()
    monkeypatch.setattr(promotion, "report", lambda *_: waits.set())
    meanwhile(lambda: waits.wait(timeout=30) and late_server())
    command(registry)
    assert waits.is_set()


@pytest.mark.long
def test_a_flow_waits_for_a_registry_that_is_down_and_promotes_once(registry, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(promotion, "FIRST_PAUSE", 0.2)
    monkeypatch.setattr(promotion, "LONGEST_PAUSE", 1.0)
    port, said = free_port(), []
    monkeypatch.setattr(promotion, "get_run_logger", lambda: SimpleNamespace(warning=lambda *args: said.append(args)))
    store = registry.uri

    def serve():
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--port", str(port)]
        command += ["--workers", "1", "--artifacts-destination", str(tmp_path)]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, env=environment, start_new_session=True, **quiet)

    remote = Registry(Settings(home=tmp_path, tracking_uri=f"http://127.0.0.1:{port}"))
    with pytest.raises(UnavailableError, match="no MLflow server answers"):
        remote.champion("model")
    reigning = registry.champion("model")
    expected = reigning and reigning.version
    number = "7" if expected != "7" else "1"
    before = len(championship(registry).history())
    servers = []

    def come_and_go():
        """The server comes late, dies the moment the promotion is in its log, and comes again."""
        time.sleep(1)
        servers.append(serve())
        wait_for(lambda: len(championship(registry).history()) > before, seconds=60, every=0.005)
        os.killpg(servers[0].pid, signal.SIGKILL)
        servers[0].wait()
        servers.append(serve())

    @patient
    def promoting():
        return championship(remote).promote(number, Grounds("tests", "better"), expected=expected)

    coming = meanwhile(come_and_go)
    try:
        move = promoting()
        coming.join()
        again = promoting()  # by a flow that was not told, or that died before it could note the answer
    finally:
        coming.join()
        for server in servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait(timeout=30)
    assert len(said) >= 2, "it waited for the registry"
    assert again == move
    assert [m.action for m in championship(registry).history()[before:]] == ["promote"]
    assert registry.champion("model").version == number
    assert championship(registry).faults() == []
