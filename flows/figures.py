"""What is measured of a candidate alone, for the gates that ask for it: its weights, and what it read of its tests."""

import json
from collections.abc import Iterator
from itertools import chain

from flows.run import Run
from gem_core.contamination import overlap
from gem_core.sources.data import PreparedData

EXAMPLES = 20
"""Items that the run's folder shows of those that were read."""


def measure(run: Run, data: PreparedData) -> dict[str, float]:
    """The figures that the recipe's gates ask for; what nobody asks for costs nothing."""
    asked = {gate.metric for gate in run.recipe.gates}
    figures: dict[str, float] = {}
    if "memory.weights_mb" in asked:
        figures["memory.weights_mb"] = weights_mb(run)
    if "contamination.share" in asked:
        figures["contamination.share"] = contamination(run, data)
    return figures


def weights_mb(run: Run) -> float:
    """Megabytes of weights that a server of the candidate holds: an adapter's base counts too."""
    folders = [run.model]
    if (run.model / "adapter_config.json").is_file() or any(run.model.rglob("adapter_config.json")):
        folders.append(run.base.folder)
    files = chain.from_iterable(folder.rglob("*.safetensors") for folder in folders)
    return sum(file.stat().st_size for file in files) / 1e6


def contamination(run: Run, data: PreparedData) -> float:
    """The share of evaluation items that stand in the training rows; ``contamination.json`` shows some of them."""
    from gem_core.evaluation.quiet import quiet
    from gem_core.evaluation.texts import evaluation_texts

    with quiet():
        texts = dict.fromkeys(text for _, text in evaluation_texts(run.recipe.evaluation, run.settings))
    found = overlap(_rows(run, data), texts)
    shown = {"share": found.share, "items": found.items, "read": len(found.read), "examples": found.read[:EXAMPLES]}
    (run.folder / "contamination.json").write_text(json.dumps(shown, indent=1, ensure_ascii=False), encoding="utf-8")
    return found.share


def _rows(run: Run, data: PreparedData) -> Iterator[str]:
    """The training texts, from the tokens that were trained on."""
    from transformers import AutoTokenizer

    from gem_core.sources.rows import Rows

    tokenizer = AutoTokenizer.from_pretrained(run.base.folder)
    rows = Rows.open(data.folder)
    for index in range(len(rows)):
        for text in rows.group(index):
            yield tokenizer.decode(text, skip_special_tokens=True)
