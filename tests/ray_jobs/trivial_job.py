"""A job for tests: does what its arguments say."""

import os
import sys
import time
from pathlib import Path

from gem_core.errors import GemError
from ray_jobs import entry
from ray_jobs.jobs import Progress


def main() -> None:
    action, *rest = sys.argv[1:]
    if action == "lines":
        for number in range(int(rest[0])):
            entry.say(Progress(text=f"line {number}", share=number / int(rest[0])))
    elif action == "variable":
        entry.say(f"{rest[0]}={os.environ.get(rest[0])}")
    elif action == "refuse":
        raise GemError(rest[0])
    elif action == "crash":
        entry.say("about to divide")
        _ = 1 / 0
    elif action == "wait":
        starts, gate = map(Path, rest)
        with starts.open("a") as stream:
            stream.write("started\n")
        entry.say("waiting")
        while not gate.exists():
            time.sleep(0.05)
        entry.say("let through")


if __name__ == "__main__":
    entry.run(main)
