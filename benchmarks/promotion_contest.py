"""Eight processes promote at once, round after round: who wins, what the losers are told, whether the log holds.

    python benchmarks/promotion_contest.py --rounds 50
    python benchmarks/promotion_contest.py --rounds 50 --uri postgresql+psycopg2://user@host/mlflow

Every process sees the same champion and tries to replace it by a version of its own. Exactly one may win a round, the
others have to be told, and the log has to hold every win in order with its chain unbroken.
"""

import argparse
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from gem_core.errors import GemError
from gem_core.records.lineage import Lineage
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import Grounds
from gem_core.records.registration import register
from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

NAME = "contest"
LINEAGE = Lineage(base_model="b", base_revision="r", base_digest="d", data_digest="d", recipe={}, recipe_digest="r")


def compete(home: Path, uri: str | None, own: int, rounds: int, barrier: "Barrier", answers: "Queue") -> None:
    """Try to become champion in every round, over the one that all processes saw."""
    registry = Registry(Settings(home=home, tracking_uri=uri))
    championship = Championship(registry, NAME)
    for number in range(rounds):
        barrier.wait()
        reigning = registry.champion(NAME)
        seen = reigning and reigning.version
        barrier.wait()
        others = [version.version for version in registry.versions(NAME) if version.version != seen]
        version = others[(own + number) % len(others)]
        try:
            championship.promote(version, Grounds(f"process {own}", f"round {number}"), expected=seen)
            answers.put((number, version, ""))
        except GemError as error:
            answers.put((number, version, str(error)))


def main() -> None:
    """Run the contest and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--uri", help="An MLflow store or server; a new SQLite store when unset.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        registry = Registry(Settings(home=home, tracking_uri=given.uri))
        run_id = Tracking(registry.uri).start_run("runs", NAME, {})
        for number in range(given.processes + 1):
            model = home / f"model-{number}"
            model.mkdir()
            (model / "config.json").write_text(f'{{"number": {number}}}')
            register(registry, NAME, model, run_id, LINEAGE, who="benchmark")
        championship = Championship(registry, NAME)
        before = len(championship.history())
        context = get_context("forkserver")
        context.set_forkserver_preload(["gem_core.records.registry", "mlflow"])
        barrier, answers = context.Barrier(given.processes), context.Queue()
        started = [
            context.Process(target=compete, args=(home, given.uri, own, given.rounds, barrier, answers))
            for own in range(given.processes)
        ]
        begin = time.monotonic()
        for process in started:
            process.start()
        told = [answers.get() for _ in range(given.processes * given.rounds)]
        for process in started:
            process.join()
        seconds = time.monotonic() - begin
        winners = [[version for n, version, why in told if n == number and not why] for number in range(given.rounds)]
        log = championship.history()[before:]
        print(
            f"{given.rounds} rounds of {given.processes} processes in {seconds:.0f} s on {registry.uri.split(':')[0]}"
        )
        print(f"rounds with exactly one winner: {sum(len(won) == 1 for won in winners)}")
        print(f"losers told that the champion is another: {sum('by now, not' in why for *_, why in told)}")
        print(f"losers told anything else: {sorted({why for *_, why in told if why and 'by now, not' not in why})}")
        print(f"log holds the winners in order: {[[move.to_version] for move in log] == winners}")
        print(f"faults: {championship.faults()}")


if __name__ == "__main__":
    main()
