import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ray_jobs import head, local_cluster, locks


def test_users_are_known_while_they_stay(tmp_path):
    assert not locks.in_use(tmp_path)
    with locks.using(tmp_path) as first:
        assert locks.in_use(tmp_path)
        with locks.using(tmp_path) as second:
            assert not locks.alone(first)
            assert locks.in_use(tmp_path)
            assert locks.alone(second)
    assert not locks.in_use(tmp_path)


def test_a_dead_user_is_none(tmp_path):
    leave, stayed = os.pipe()
    child = os.fork()
    if child == 0:
        with locks.using(tmp_path):
            os.write(stayed, b"x")
            threading.Event().wait()
    os.read(leave, 1)
    assert locks.in_use(tmp_path)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert not locks.in_use(tmp_path)


@pytest.fixture
def head_process():
    """A process with the command line of a cluster's, on port 4321."""
    sleep = "import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", sleep, local_cluster.ENTRY, "--port", "4321"])
    local_cluster.await_command_line(process)
    yield process
    process.kill()
    process.wait()


def test_a_later_process_of_the_same_pid_is_not_the_cluster(head_process):
    def found(pid, port):
        return local_cluster.Head(pid, f"http://127.0.0.1:{port}", "", "").process()

    assert found(head_process.pid, 4321).pid == head_process.pid
    assert found(head_process.pid, 4322) is None, "another cluster's"
    assert found(os.getpid(), 4321) is None
    head_process.kill()
    while psutil.Process(head_process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert found(head_process.pid, 4321) is None, "a zombie"


@pytest.mark.skipif(sys.platform != "linux", reason="psutil takes the time of the boot from elsewhere")
def test_a_clock_that_was_put_right_loses_no_cluster(head_process, monkeypatch):
    written = local_cluster.Head(head_process.pid, "http://127.0.0.1:4321", "", "")
    booted = psutil.boot_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: booted + 1.0)  # where a process's start is counted from
    assert written.process() is not None


def test_a_process_is_known_from_its_start_on_a_busy_machine():
    """Who finds a cluster unknown starts another, or leaves it running for ever."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        for _ in range(30):
            process = subprocess.Popen(["sleep", "60"])
            local_cluster.await_command_line(process)
            known = psutil.Process(process.pid).cmdline()
            process.kill()
            process.wait()
            assert known == process.args
        local_cluster.await_command_line(process)  # which has ended
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "of": "another version"}'])
def test_a_stale_record_is_as_good_as_none(tmp_path, content):
    (tmp_path / "cluster.json").write_text(content)
    assert local_cluster._read(tmp_path) is None


@pytest.mark.slow
def test_a_forgotten_cluster_ends_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(local_cluster, "ENTRY", "impatient_head")
    with locks.entrance(tmp_path):
        found = local_cluster._start(tmp_path, None)
    process = found.process()
    family = [process]
    deadline = time.monotonic() + 60
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        family = family if len(process.children()) < len(family) else [process, *process.children(recursive=True)]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert len(family) > 5
    local_cluster._clear(Path(found.folder))


@pytest.mark.parametrize(("visible", "number"), [("", 0), ("-1", 0), ("0", 1), ("0,3", 2), ("GPU-a", 1)])
def test_only_visible_gpus_are_offered(monkeypatch, visible, number):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert head._gpus() == number
