"""The figures of a loaded model that gates ask for: how long it takes, and what moves its embeddings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gem_core.method.model import GemModel

KINDS = ("latency", "stability")
"""Those that need the model at work."""


def measure(model: GemModel, metrics: Iterable[str]) -> dict[str, float]:
    """What is asked for, by metric; a kind nobody asks for costs nothing.

    A figure of stability is a distance, one minus the cosine that :mod:`gem_core.studies.diagnostics` tells: 0 where
    the change moves nothing.
    """
    asked = set(metrics)
    found: dict[str, float] = {}
    if any(metric.startswith("latency.") for metric in asked):
        from gem_core.studies.latency import latency

        found |= {f"latency.{name}": value for name, value in asdict(latency(model)).items()}
    if any(metric.startswith("stability.") for metric in asked):
        from gem_core.studies.diagnostics import TEXTS, stability

        texts = [text for part in TEXTS.values() for text in part]
        found |= {f"stability.{name}": 1.0 - cosine for name, cosine in asdict(stability(model, texts)).items()}
    return {metric: value for metric, value in found.items() if metric in asked}
