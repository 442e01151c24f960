import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from gem_core.errors import GemError
from gem_core.settings import Settings
from ray_jobs import submit
from ray_jobs.connection import connect
from ray_jobs.jobs import Progress


def lines_of(cluster, job):
    lines = []
    submit.follow(cluster, job, lines.append)
    return lines


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_every_line_arrives_once_and_in_order(cluster, start):
    job = start("lines", "lines", "250")
    assert job == "lines"
    got = [progress.text for line in lines_of(cluster, job) if (progress := Progress.parse(line))]
    assert got == [f"line {n}" for n in range(250)]


def test_a_succeeded_job_is_not_started_again_unless_asked(cluster, start):
    job = start("once", "lines", "1")
    lines_of(cluster, job)
    assert start("once", "lines", "1") == "once"
    assert start("once", "lines", "1", again=True) == "once-2"
    lines_of(cluster, "once-2")


def test_a_job_takes_its_variables_with_it_and_credentials_to_no_shared_cluster():
    ours = {"GEM_HOME": "/home", "HF_ENDPOINT": "http://hub", "AWS_DEFAULT_REGION": "eu", "OMP_NUM_THREADS": "2"}
    credentials = dict.fromkeys(submit.CREDENTIALS, "secret")
    environment = ours | credentials | {"PATH": "/bin", "MY_HF_TOKEN": "x"}
    assert submit.forwarded(environment, shared=True) == ours
    assert submit.forwarded(environment, shared=False) == ours | credentials


def test_a_refusal_comes_out_as_its_own_line(cluster, start):
    job = start("refused", "refuse", "no rows in here;\n add some")
    with pytest.raises(GemError, match=r"^no rows in here; add some$"):
        submit.follow(cluster, job, lambda line: None)
    assert start("refused", "lines", "1") == "refused-2"  # a failed job is tried again
    lines_of(cluster, "refused-2")
    assert start("refused", "lines", "1") == "refused-2"


def test_a_crash_is_one_line_and_its_traceback_in_the_log(cluster, start):
    job = start("crashed", "crash")
    lines = []
    with pytest.raises(GemError, match="crashed failed") as caught:
        submit.follow(cluster, job, lines.append)
    assert "\n" not in str(caught.value)
    assert any("ZeroDivisionError" in line for line in lines)


def test_a_job_has_the_variables_of_its_submitter_and_no_others(cluster, start, monkeypatch):
    monkeypatch.setenv("GEM_PROBE", "one")
    assert "GEM_PROBE=one" in lines_of(cluster, start("variable-1", "variable", "GEM_PROBE"))
    monkeypatch.delenv("GEM_PROBE")
    assert "GEM_PROBE=None" in lines_of(cluster, start("variable-b", "variable", "GEM_PROBE"))
    assert "GEM_PROBE=2" in lines_of(cluster, start("variable-c", "variable", "GEM_PROBE", env={"GEM_PROBE": "2"}))


def test_two_flows_at_once_share_one_job(cluster, start, tmp_path):
    starts, gate = tmp_path / "starts", tmp_path / "gate"
    with ThreadPoolExecutor(4) as pool:
        jobs = {job.result() for job in [pool.submit(start, "shared", "wait", starts, gate) for _ in range(4)]}
    assert jobs == {"shared"}
    gate.touch()
    assert "let through" in lines_of(cluster, "shared")
    assert starts.read_text() == "started\n"


def test_cancel_stops_a_job_and_the_next_attempt_is_a_new_one(cluster, start, tmp_path):
    starts, gate = tmp_path / "starts", tmp_path / "gate"
    job = start("stopped", "wait", starts, gate)
    wait_for(starts.exists)
    assert submit.cancel(cluster, job)
    with pytest.raises(GemError, match="was stopped"):
        submit.follow(cluster, job, lambda line: None)
    assert not submit.cancel(cluster, job)
    gate.touch()
    assert start("stopped", "wait", starts, gate) == "stopped-2"
    lines_of(cluster, "stopped-2")


def test_what_the_reader_of_lines_raises_comes_through(cluster, start):
    def refuse(line):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        submit.follow(cluster, start("reader", "lines", "3"), refuse)


def test_a_killed_submitter_leaves_its_job_to_the_next_one(cluster, home, start, spawn, tmp_path):
    starts, gate = tmp_path / "starts", tmp_path / "gate"
    code = """
import sys
from pathlib import Path
from gem_core.settings import Settings
from ray_jobs import submit
from ray_jobs.connection import connect
import os
with submit.cluster(Settings(home=Path(sys.argv[1]), ray_address=None)) as cluster:
    env = {"PYTHONPATH": os.environ["PYTHONPATH"]}
    job = submit.submit(cluster, "trivial_job", ["wait", *sys.argv[2:]], "orphan", env=env)
    submit.follow(cluster, job, lambda line: None)
"""
    process = spawn(code, home, starts, gate)
    wait_for(starts.exists)
    process.kill()
    process.wait()
    with submit.cluster(Settings(home=home, ray_address=None)) as found:
        assert found.head == cluster.head
        job = start("orphan", "wait", starts, gate)
        gate.touch()
        assert "let through" in lines_of(found, job)
    assert job == "orphan"
    assert starts.read_text() == "started\n"
    assert cluster.head.process() is not None  # we still use it


def test_an_environment_that_names_another_cluster_changes_nothing(cluster, start, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    assert connect(cluster.address, cluster.head.token).get_address() == cluster.address
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:1"


def test_a_cluster_out_of_reach_is_one_line():
    settings = Settings(ray_address="http://127.0.0.1:1", tracking_uri="http://127.0.0.1:1")
    with submit.cluster(settings) as far, pytest.raises(GemError, match="GEM_RAY_ADDRESS") as caught:
        submit.submit(far, "trivial_job", [], "never")
    assert "\n" not in str(caught.value)


def test_a_remote_cluster_needs_a_store_it_can_reach(tmp_path):
    settings = Settings(home=tmp_path, ray_address="http://127.0.0.1:1", tracking_uri=None)
    with pytest.raises(GemError, match="MLFLOW_TRACKING_URI"), submit.cluster(settings):
        pass


def test_the_cluster_listens_on_loopback_only_and_asks_for_its_token(cluster, home):
    import requests

    cluster.client.list_jobs()
    assert requests.get(f"{cluster.address}/api/jobs/", timeout=30).status_code == 401
    head = cluster.head.process()
    listening = [
        connection.laddr.ip
        for process in [head, *head.children(recursive=True)]
        for connection in _connections(process)
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert stat.S_IMODE((home / "ray" / "cluster.json").stat().st_mode) == 0o600


def _connections(process):
    try:
        return process.net_connections(kind="inet")
    except psutil.NoSuchProcess:  # it ended meanwhile
        return []


@pytest.mark.slow
def test_the_last_user_ends_a_cluster_beside_others(cluster, tmp_path, spawn):
    settings = Settings(home=tmp_path, ray_address=None)
    record = tmp_path / "ray" / "cluster.json"
    record.parent.mkdir()
    record.write_text('{"pid": 1, "torn')  # what a crash may leave
    with submit.cluster(settings) as own:
        own.client.list_jobs()
        assert own.address != cluster.address
        with submit.cluster(settings) as same:
            assert same.head == own.head
        process = own.head.process()
        family = [process, *process.children(recursive=True)]
        assert record.exists()
    assert not record.exists()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert cluster.head.process() is not None


@pytest.mark.slow
def test_a_killed_head_is_replaced_and_its_processes_ended(tmp_path):
    settings = Settings(home=tmp_path, ray_address=None)
    with submit.cluster(settings) as own:
        own.client.list_jobs()
        process = own.head.process()
        family = process.children(recursive=True)
        process.kill()
        process.wait()
        with pytest.raises(GemError, match="lost"):
            submit.follow(own, "none", lambda line: None)
        with submit.cluster(settings) as new:
            assert new.head != own.head
            _, alive = psutil.wait_procs(family, timeout=10)
            assert not alive
            assert new.client.list_jobs() == []
    assert not (tmp_path / "ray" / "cluster.json").exists()
