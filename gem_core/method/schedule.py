"""What a step weighs and how far it goes: functions of the step alone, so that a resumed run continues them exactly."""

import math
from dataclasses import dataclass

from gem_core.recipe import Objective, Training


@dataclass(frozen=True)
class Weights:
    """What each loss weighs in a step."""

    next_token: float = 0.0
    contrastive: float = 0.0
    bag_of_words: float = 0.0
    divergence: float = 0.0


@dataclass(frozen=True)
class Rates:
    """How far each optimizer goes in a step."""

    adamw: float
    muon: float = 0.0


def weights(step: int, objective: Objective) -> Weights:
    """What each loss weighs at a step counted from 0."""
    share, words = contrastive_share(step, objective), objective.contrastive.bag_of_words
    return Weights(1 - share, share * (1 - words), share * words, objective.keep_language)


def contrastive_share(step: int, objective: Objective) -> float:
    """The a of ``(1 - a) * next-token + a * contrastive`` at a step counted from 0."""
    since = step - objective.contrastive_start
    if objective.contrastive.rows == "none" or since < 0:
        return 0.0
    risen = 1.0 if objective.contrastive_ramp == 0 else min(1.0, (since + 1) / objective.contrastive_ramp)
    return objective.contrastive_weight * risen


def learning_rates(step: int, training: Training, objective: Objective) -> Rates:
    """The rates at a step counted from 0.

    The steps before ``contrastive_start`` and those from it on are two stages, with a peak each for AdamW and the same
    one for Muon; in both the rates rise linearly over ``warmup`` of the stage and fall by a cosine to ``final_rate`` of
    the peak.
    """
    start = training.steps if objective.contrastive.rows == "none" else min(objective.contrastive_start, training.steps)
    if step < start:
        peak, position, length = training.learning_rate, step, start
    else:
        peak, position, length = training.contrastive_learning_rate, step - start, training.steps - start
    share = _share_of_peak(position, length, training)
    return Rates(adamw=peak * share, muon=(training.muon or 0.0) * share)


def _share_of_peak(position: int, length: int, training: Training) -> float:
    warmup = round(training.warmup * length)
    if position < warmup:
        return (position + 1) / warmup
    fallen = (position - warmup) / max(1, length - warmup - 1)
    cosine = (1 + math.cos(math.pi * min(1.0, fallen))) / 2
    return training.final_rate + (1 - training.final_rate) * cosine
