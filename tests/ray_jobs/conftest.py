"""One real local cluster for all tests of the Ray jobs."""

import os
import sys
from pathlib import Path

import pytest

from gem_core.settings import Settings
from ray_jobs import submit

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def cluster(home):
    with submit.cluster(Settings(home=home, ray_address=None)) as found:
        yield found


@pytest.fixture
def start(cluster):
    """Submit ``trivial_job.py``, which does what its arguments say."""

    def start(job_id, *arguments, **options):
        env = {"PYTHONPATH": str(HERE), **options.pop("env", {})}
        return submit.submit(cluster, "trivial_job", arguments, job_id, env=env, **options)

    return start


@pytest.fixture
def spawn():
    """Run Python code in a process group of its own; it is ended when the test is."""
    import subprocess

    running = []

    def spawn(code, *arguments):
        env = {**os.environ, "PYTHONPATH": str(HERE)}
        process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=env, stdout=subprocess.PIPE)
        running.append(process)
        return process

    yield spawn
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()
