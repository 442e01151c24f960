"""What GEM gains and loses in the sandbox: whole runs of the shipped recipe, seed by seed.

    python benchmarks/sandbox_gain.py --seeds 1,2,3

Each run is the real flow (``gem run sandbox --set seed=N``); base and candidate are scored by the same run under the
same settings. Prints one row a seed, their mean, and the lowest gain, which is what the target is about.
"""

import argparse
import json
import subprocess
import sys
from statistics import fmean

from gem_core.evaluation.scores import Scores


def main() -> None:
    """Run every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1,2,3", help="training seeds, separated by commas")
    parser.add_argument("--world", help="seed of another sandbox world than the recipe's")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="further recipe overrides")
    options = parser.parse_args()
    overrides = list(options.overrides)
    if options.world is not None:
        source = f"sandbox:{options.world}"
        overrides += [f"base_model.source={source}", f"data.sources.0.source={source}"]
        overrides += [f"evaluation.sandbox={options.world}"]
    print("| seed | base | candidate | gain | exam, base | exam, candidate | lost | training s | scoring s |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = [measure(int(seed), overrides) for seed in options.seeds.split(",")]
    gains = [row["gain"] for row in rows]
    print(
        f"\nlowest gain {min(gains):.2f}, mean gain {fmean(gains):.2f}, mean loss {fmean(r['lost'] for r in rows):.2f}"
    )


def measure(seed: int, overrides: list[str]) -> dict[str, float]:
    """One run; prints its row and returns ``gain`` and ``lost`` in points."""
    settings = [part for override in (f"seed={seed}", *overrides) for part in ("--set", override)]
    command = [sys.executable, "-m", "flows.cli", "run", "sandbox", *settings, "--json"]
    outcome = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    baseline, scored = (Scores.model_validate(outcome["comparison"][role]) for role in ("baseline", "candidate"))
    base, exam_base = baseline.value("embedding"), baseline.value("language")
    candidate, exam = scored.value("embedding"), scored.value("language")
    spent = outcome["seconds"]
    cells = [f"{base:.2f}", f"{candidate:.2f}", f"{candidate - base:+.2f}", f"{exam_base:.2f}", f"{exam:.2f}"]
    cells += [f"{exam_base - exam:.2f}", f"{spent['training']:.0f}", f"{spent['scoring']:.0f}"]
    print(f"| {seed} | {' | '.join(cells)} |", flush=True)
    return {"gain": candidate - base, "lost": exam_base - exam}


if __name__ == "__main__":
    main()
