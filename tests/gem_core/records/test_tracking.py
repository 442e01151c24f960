import json
import math
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from gem_core.errors import GemError
from gem_core.records import tracking as module
from gem_core.records.mlflow_connection import printable, sqlite_file
from gem_core.records.tracking import Tracking, flatten, metric_name
from gem_core.settings import Settings


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home of records") / "gem"


@pytest.fixture(scope="module")
def tracking(home):
    return Tracking(Settings(home=home, tracking_uri=None).mlflow_uri)


@pytest.fixture
def run_id(tracking, request):
    return tracking.start_run("experiment", request.node.name, {"gem.run_key": request.node.name})


def test_a_run_is_kept_with_all_that_was_logged(tracking, run_id, request):
    tracking.log_params(run_id, {"training": {"steps": 10, "rate": 1e-4}, "gates": [], "seed": 1})
    tracking.log_metrics(run_id, {"loss": 2.0}, step=1)
    tracking.log_metrics(run_id, {"loss": 1.5}, step=2)
    tracking.set_tags(run_id, {"gem.flow_run": "abc"})
    tracking.finish(run_id)
    found = tracking.run(run_id)
    assert found.params == {"training.steps": "10", "training.rate": "0.0001", "gates": "[]", "seed": "1"}
    assert found.metrics == {"loss": 1.5}
    assert found.tags["gem.flow_run"] == "abc"
    assert (found.experiment, found.name, found.status) == ("experiment", request.node.name, "FINISHED")
    assert found.started <= found.ended <= datetime.now(UTC)
    assert found in tracking.runs("experiment")
    assert found in tracking.runs()


def test_an_unfinished_run_is_continued_and_a_finished_one_is_not(tracking):
    def start():
        return tracking.start_run("again", "run", {"gem.run_key": "key"})

    first = start()
    assert start() == first
    tracking.finish(first, "FAILED")
    assert start() == first
    assert tracking.run(first).status == "RUNNING"
    tracking.finish(first)
    second = start()
    assert second != first
    assert tracking.start_run("again", "run", {"gem.run_key": "another key"}) not in (first, second)
    assert len(tracking.runs("again")) == 3


def test_a_store_of_many_pages_is_read_whole_or_as_far_as_asked(tracking, monkeypatch):
    made = [tracking.start_run(f"page-{number}", "run", {"gem.run_key": f"page-{number}"}) for number in range(3)]
    monkeypatch.setattr(module, "PAGE", 2)
    found = [run.run_id for run in tracking.runs()]
    assert set(made) <= set(found)
    assert [run.run_id for run in tracking.runs(most=2)] == found[:2] == made[:0:-1]
    assert tracking.start_run("page-0", "run", {"gem.run_key": "page-0"}) == made[0]


def test_many_steps_in_one_call_come_back_in_order(tracking, run_id):
    steps = [(step, {"loss": 1 / step, "rate": 0.1}) for step in range(1200, 0, -1)]
    tracking.log_steps(run_id, steps)
    series = tracking.series(run_id, "loss")
    assert [step for step, _ in series] == list(range(1, 1201))
    assert series[3] == (4, 0.25)


def test_a_value_that_is_no_number_stays_one(tracking, run_id):
    tracking.log_metrics(run_id, {"loss": float("nan")})
    assert math.isnan(tracking.series(run_id, "loss")[0][1])


def test_names_of_benchmarks_are_metrics_too(tracking, run_id):
    name = "MTEB(eng, v2)"
    tracking.log_metrics(run_id, {name: 50.0})
    assert tracking.run(run_id).metrics == {metric_name(name): 50.0}
    assert tracking.series(run_id, name) == [(0, 50.0)]


def test_files_come_back_from_beside_the_database(tracking, run_id, home, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    tracking.log_artifacts(run_id, tmp_path / "folder", "model")
    tracking.log_artifact(run_id, tmp_path / "folder" / "a.txt", "deep/er")
    tracking.log_dict(run_id, {"k": [1]}, "dict.json")
    tracking.log_text(run_id, "text", "text.md")
    assert tracking.read_artifact(run_id, "model/a.txt") == tracking.read_artifact(run_id, "deep/er/a.txt") == b"a"
    assert json.loads(tracking.read_artifact(run_id, "dict.json")) == {"k": [1]}
    assert tracking.read_artifact(run_id, "text.md") == b"text"
    assert tracking.run(run_id).artifact_uri.startswith(str(home / "mlartifacts"))


def test_a_param_cannot_change(tracking, run_id):
    tracking.log_params(run_id, {"seed": 1})
    tracking.log_params(run_id, {"seed": 1})
    with pytest.raises(GemError, match="seed"):
        tracking.log_params(run_id, {"seed": 2})


def test_what_is_not_there_is_said_in_one_line(tracking, run_id):
    with pytest.raises(GemError, match="Run with id=nope not found"):
        tracking.run("nope")
    with pytest.raises(GemError, match=r"none\.txt") as refusal:
        tracking.read_artifact(run_id, "none.txt")
    assert "\n" not in str(refusal.value)
    assert tracking.runs("no such experiment") == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://user:secret@127.0.0.1:9", "no MLflow server answers at http://127.0.0.1:9: start it"),
        ("file:///tmp/mlruns", "refuses"),
        ("nonsense://here", "refuses"),
        ("sqlite:////proc/nowhere/mlflow.db", "cannot be opened"),
    ],
)
def test_a_store_that_does_not_answer_is_named_at_once_and_without_its_password(uri, message):
    begin = time.monotonic()
    with pytest.raises(GemError, match=message) as refusal:
        Tracking(uri).runs()
    assert "secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert time.monotonic() - begin < 15


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path):
    (tmp_path / "mlflow.db").write_text("something else entirely")
    with pytest.raises(GemError, match="is no SQLite database"):
        Tracking(f"sqlite:///{tmp_path}/mlflow.db").runs()
    assert (tmp_path / "mlflow.db").read_text() == "something else entirely"


def test_a_store_of_another_version_is_named(tracking, home, tmp_path):
    tracking.runs()
    copy = tmp_path / "mlflow.db"
    copy.write_bytes((home / "mlflow.db").read_bytes())
    with sqlite3.connect(copy) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(GemError, match="database schema"):
        Tracking(f"sqlite:///{copy}").runs()


@pytest.mark.slow
def test_several_processes_may_use_a_new_store_first(tmp_path):
    code = (
        "import sys; from gem_core.records.tracking import Tracking\n"
        "print(Tracking(sys.argv[1]).start_run('e', 'r', {'gem.run_key': sys.argv[2]}))"
    )
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, uri, key], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for key in "ab"
    ]
    printed = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], printed
    assert len({out for out, _ in printed}) == len(Tracking(uri).runs("e")) == 2
    assert all("INFO" not in err for _, err in printed)


@pytest.mark.slow
def test_telemetry_is_off_and_nothing_global_is_set(tracking):
    from mlflow.telemetry.utils import is_telemetry_disabled

    tracking.runs()
    code = (
        "import sys; from gem_core.records.tracking import Tracking; Tracking(sys.argv[1]).runs()\n"
        "import mlflow; from mlflow.telemetry import get_telemetry_client\n"
        "print(get_telemetry_client(), mlflow.is_tracking_uri_set())"
    )
    done = subprocess.run([sys.executable, "-c", code, tracking.uri], capture_output=True, text=True, check=True)
    assert done.stdout == "None False\n"
    assert is_telemetry_disabled()


def test_importing_costs_no_mlflow():
    code = "import sys, gem_core.records.tracking, gem_core.records.registry; print('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_addresses():
    assert printable("postgresql://me:secret@host/db") == "postgresql://host/db"
    assert printable("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert str(sqlite_file("sqlite:////a/b.db")) == "/a/b.db"
    assert sqlite_file("http://host") is None


def test_flatten_keeps_empty_mappings():
    assert flatten({"a": {"b": {"c": 1}, "d": {}}}) == {"a.b.c": 1, "a.d": {}}
