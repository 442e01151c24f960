"""The model card of a version: a Hugging Face ``README.md`` made from the records, nothing written by hand."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from gem_core.sources.texts import READERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from gem_core.judging.gates import GateReport
    from gem_core.records.lineage import Lineage

PAPER = "https://arxiv.org/abs/2506.04344"


def model_card(
    name: str,
    lineage: Lineage,
    *,
    scores: Mapping[str, float],
    baseline: Mapping[str, float],
    limited: Collection[str] = (),
    report: GateReport | None = None,
    digest: str = "",
) -> str:
    """Write the card.

    Args:
        name: The registered model, and the version where it is known.
        lineage: Where it comes from; its recipe is summarised.
        scores: Metric -> points of the model.
        baseline: Metric -> points of its base.
        limited: Metrics that were measured on a part of their items, and are marked.
        report: The gate report, once it has been judged.
        digest: The model's content digest.

    Returns:
        Markdown with YAML front matter.
    """
    parts = [
        f"---\n{_front_matter(name, lineage)}\n---",
        f"# {name}",
        f"{lineage.base_model}, post-trained by [GEM]({PAPER}) to embed texts **and** to keep generating.",
        "## How to use",
        "```python\nfrom gem_core.method.model import GemModel\nfrom gem_core.settings import Settings\n\n"
        f'model = GemModel.open("models:/{name.replace(" version ", "/")}", settings=Settings())\n'
        'vectors = model.encode(["A text.", "Another text."])  # float32, unit length\n'
        'print(model.generate("The city of"))\n```',
        "## Scores",
        _score_table(scores, baseline, limited),
        "## Quality gates",
        _gates(report),
        "## How it was made",
        _table(("choice", "value"), _recipe_rows(lineage)),
        "## Licences",
        _licences(lineage),
        "## Lineage",
        _table(("what", "which"), _lineage_rows(lineage, digest)),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(name: str, lineage: Lineage) -> str:
    """What hubs read. The languages are those that its embeddings were measured in; of others nothing is known."""
    from huggingface_hub import ModelCardData

    hub_id = lineage.base_model if _on_hub(lineage.base_model) else None
    data = ModelCardData(
        model_name=name,
        license=lineage.base_license,
        base_model=hub_id,
        datasets=[source["source"] for source in lineage.data_sources if _on_hub(source["source"])] or None,
        language=list(lineage.recipe.get("evaluation", {}).get("embedding", {}).get("languages", ())) or None,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["gem", "sentence-similarity", "text-embedding", "text-generation"],
    )
    return data.to_yaml()


def _on_hub(source: str) -> bool:
    """Whether a source is a hub id, which a hub links to; a sandbox, a file or a bucket is not."""
    return source.count("/") == 1 and ":" not in source and PurePath(source).suffix not in READERS


def _licences(lineage: Lineage) -> str:
    """What base and data ask of whoever uses the model, as their cards state it."""
    rows = [("base", lineage.base_model, lineage.base_license)]
    rows += [("data", source["source"], source.get("license")) for source in lineage.data_sources]
    table = _table(
        ("what", "which", "licence"), ((what, f"`{name}`", said or "not stated") for what, name, said in rows)
    )
    return f"{table}\n\nAs their cards state it; this model carries these licences over, and adds none."


def _score_table(scores: Mapping[str, float], baseline: Mapping[str, float], limited: Collection[str]) -> str:
    if not scores:
        return "Not measured."

    def row(metric: str) -> tuple[str, ...]:
        value, before = scores[metric], baseline.get(metric)
        label = f"{metric} (limited)" if metric in limited else metric
        if before is None:
            return label, "not measured", f"{value:.2f}", ""
        return label, f"{before:.2f}", f"{value:.2f}", f"{value - before:+.2f}"

    note = "In points from 0 to 100. The base's embedding is the better of mean pooling and last token."
    note += " Limited: measured on a part of the items." if limited else ""
    return f"{_table(('metric', 'base', 'this model', 'change'), map(row, sorted(scores)))}\n\n{note}"


def _gates(report: GateReport | None) -> str:
    if report is None:
        return "Not judged yet."
    rows = ((result.name, result.verdict, result.reason) for result in report.results)
    table = _table(("gate", "verdict", "reason"), rows) if report.results else "The recipe has no gates."
    return f"Verdict: **{report.verdict}**.\n\n{table}"


def _recipe_rows(lineage: Lineage) -> Iterable[tuple[str, str]]:
    recipe = lineage.recipe
    chosen = {
        "special tokens": ("special_tokens", "count"),
        "read-out": ("special_tokens", "pooling"),
        "adaptation": ("adaptation", "method"),
        "adapter acts on": ("adaptation", "scope"),
        "LoRA rank": ("adaptation", "rank"),
        "steps": ("training", "steps"),
        "rows a batch": ("training", "batch_size"),
        "learning rate": ("training", "learning_rate"),
        "learning rate of the contrastive stage": ("training", "contrastive_learning_rate"),
        "share of raw rows": ("objective", "raw_share"),
        "tokens a row at most": ("data", "max_length"),
    }
    for label, (section, key) in chosen.items():
        value = recipe.get(section, {}).get(key)
        if value is not None and not (label == "LoRA rank" and recipe["adaptation"].get("method") == "full"):
            yield label, str(value)


def _lineage_rows(lineage: Lineage, digest: str) -> Iterable[tuple[str, str]]:
    if digest:
        yield "this model", f"`{digest}`"
    for label, value in lineage.facts().items():
        if not label.startswith("licence"):
            yield label, f"`{value}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)
