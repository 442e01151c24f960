"""The process behind a local cluster: ``python -m ray_jobs.head --port PORT --folder FOLDER``.

It starts Ray's own processes on loopback, waits for SIGTERM and takes them along; should it be killed outright, Ray's
reaper does. A cluster whose users all crashed ends by itself a while after its last job.
:mod:`ray_jobs.local_cluster` starts, finds and stops it.
"""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from ray_jobs import locks

LOCAL_MARK = "gem_local"
"""A resource only a local cluster has: more workers than it has CPUs can never start there."""
OBJECT_STORE_BYTES = 100 * 2**20
"""Ray's default is 30 % of the memory; our jobs hand each other files, not objects."""
SECONDS_BETWEEN_LOOKS = 2.0
FORGOTTEN_SECONDS = 900.0
"""How long a cluster waits for a user once it has neither user nor job."""

SWITCHES = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing phones home
    "RAY_AUTH_MODE": "token",  # whoever reaches a Ray port runs code as its owner: ask for the token even on loopback
    # Ray takes a node's outer address even where 127.0.0.1 is asked for, except where it says clusters are not
    # supported; then all its ports are on loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_enable_metrics_collection": "0",  # nobody scrapes them, and the CPUs are the training's
    "RAY_enable_worker_prestart": "0",  # every job has its own environment: prestarted workers would never be used
    "RAY_prestart_worker_first_driver": "0",
    "DASHBOARD_METRIC_PORT": "0",  # any free port, else two clusters want the same
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more, for nodes that a cloud takes back
}
"""The environment of a local cluster: quick to start, quiet, closed to others. Half of the start-up time and a third
of the memory are the dashboard's modules, which job server and Ray Train need and Ray does not let one choose."""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Run a private Ray cluster on this machine until SIGTERM.")
    parser.add_argument("--port", type=int, required=True, help="of the job server, on loopback")
    parser.add_argument("--folder", type=Path, required=True, help="of the lock files")
    options = parser.parse_args()

    # Neither ray.init() nor `ray start` can have all of it: a job agent on a free port (so that clusters coexist), and
    # neither autoscaler nor Ray Client server (a third of the memory, and another fixed port).
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    node = cluster.add_node(
        node_ip_address="127.0.0.1",
        num_cpus=_cpus(),
        num_gpus=_gpus(),
        resources={LOCAL_MARK: 1},
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=True,  # job server and state API live there
        dashboard_host="127.0.0.1",
        dashboard_port=options.port,
        dashboard_agent_listen_port=0,
        no_monitor=True,
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    needed = time.monotonic()
    while not stop.wait(SECONDS_BETWEEN_LOOKS):
        if not node.remaining_processes_alive():
            sys.exit("a process of the cluster died; its logs are in the session folder")  # the reaper ends the others
        if locks.in_use(options.folder):
            needed = time.monotonic()
        elif time.monotonic() - needed > FORGOTTEN_SECONDS:
            if _at_work():
                needed = time.monotonic()
                continue
            break
    cluster.shutdown()


def _at_work() -> bool:
    from ray.job_submission import JobSubmissionClient

    jobs = JobSubmissionClient().list_jobs()  # of this cluster: its address and token are in our environment
    return any(not job.status.is_terminal() for job in jobs)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> int:
    """NVIDIA GPUs this process may use, asked without loading CUDA."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([name for name in chosen.split(",") if name.strip() not in ("", "-1")])
    driver = Path("/proc/driver/nvidia/gpus")
    return len(list(driver.iterdir())) if driver.is_dir() else 0


if __name__ == "__main__":
    main()
