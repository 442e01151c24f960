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
from prefect.testing.utilities import prefect_test_harness

from flows import promotion
from flows.promotion import await_person, decide, patient
from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.judging.gates import judge
from gem_core.recipe.gates import Gate
from gem_core.records.lineage import Lineage
from gem_core.records.mlflow_connection import UnavailableError
from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings

LINEAGE = Lineage(base_model="b", base_revision="r", base_digest="d", data_digest="d", recipe={}, recipe_digest="r")


def make_versions(settings, folder, count):
    run_id = Tracking(settings.mlflow_uri).start_run("runs", "model", {})
    for number in range(1, count + 1):
        model = folder / f"model-{number}"
        model.mkdir()
        (model / "config.json").write_text(f'{{"number": {number}}}')
        Registry(settings).register("model", model, run_id, LINEAGE, who="tests")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    home = tmp_path_factory.mktemp("gem")
    make_versions(Settings(home=home, tracking_uri=None), home, 7)
    return Registry(Settings(home=home, tracking_uri=None))


def judged(registry, version, value, **rule):
    """The report of a version with this score, against a base of 60."""

    def scores(model, points):
        task = TaskScore(task="exam", kind="language", read_out="", metric="acc", value=points, items=100, settings="s")
        return Scores(model=model, reference=model, tasks=(task,))

    gate = Gate(**{"name": "g", "metric": "language", "against": "base", "at_least": 0.0, **rule})
    return judge(scores(registry.get("model", version).digest, value), scores("base", 60.0), None, [gate])


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
    version, verdict = registry.get("model", number), judged(registry, number, value, **rule)
    recipe = SimpleNamespace(promotion=policy)
    decision = decide(registry, recipe, version, expected, verdict)
    assert said in decision.sentence
    assert decision.promoted == (action == "promote")
    assert decision.waits == (action == "challenge")
    logged = registry.history("model")
    assert decide(registry, recipe, version, expected, verdict).waits == decision.waits
    assert registry.history("model") == logged, "a rerun logs nothing again"
    assert (logged[-1].action, logged[-1].version) == (action, number) or value == 59.0
    assert registry.faults("model") == []


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_a_flow_waits_until_a_person_has_decided(registry, monkeypatch, tmp_path):
    monkeypatch.setattr(promotion, "POLL_SECONDS", 0.3)
    reigning = registry.champion("model")
    expected = reigning and reigning.version

    @flow
    def waiting(number: str, hours: float) -> promotion.Decision:
        registry.challenge("model", number, expected=expected, who="gates", reason="passed")
        return await_person(registry, registry.get("model", number), hours)

    with prefect_test_harness(server_startup_timeout=120):
        nobody = waiting("5", 1 / 3600)
        assert (nobody.promoted, nobody.waits) == (False, True)
        assert registry.waits("model", "5"), "nobody came, and the version waits on"

        def person():
            wait_for(lambda: registry.waits("model", "6"))
            time.sleep(1)
            registry.approve("model", "6", who="a person", reason="I looked")

        thread = threading.Thread(target=person)
        thread.start()
        decision = waiting("6", 1)
        thread.join()
    assert decision.promoted
    assert decision.sentence == "approved by a person: I looked"
    assert registry.champion("model").version == "6"


# --- a registry that is down ---


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.slow
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
    servers = []
    starter = threading.Timer(1.0, lambda: servers.append(serve()))
    starter.start()
    try:
        reigning = registry.champion("model")
        expected = reigning and reigning.version
        number = "7" if expected != "7" else "1"
        before = len(registry.history("model"))

        @patient
        def promoting():
            move = remote.promote("model", number, expected=expected, who="tests", reason="better")
            if len(said) < 100 and not any("lost" in str(one) for one in said):
                said.append("lost")
                raise UnavailableError("the answer was lost")  # it was promoted, and nobody was told
            return move

        move = promoting()
    finally:
        starter.join()
        for server in servers:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)
    assert any("waiting for the registry" in str(one) for one in said)
    assert move.to_version == number
    assert [m.action for m in registry.history("model")[before:]] == ["promote"]
    assert registry.champion("model").version == number
