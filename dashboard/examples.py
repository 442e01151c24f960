"""Texts to begin with, in the words of the world that a model was trained on."""

import random

from gem_core.errors import GemError
from gem_core.sandbox import SandboxSpec
from gem_core.sandbox.text import sentence
from gem_core.sandbox.wordings import EVALUATION
from gem_core.sandbox.world import make_world
from gem_core.sources.models import kind_of, sandbox_seed

ENGLISH = (
    "The cat sleeps on the sofa.",
    "A kitten is napping on the couch.",
    "The stock market fell sharply today.",
    "Share prices dropped this morning.",
    "She plays the violin in an orchestra.",
    "He is practising the cello.",
)
STATED = ("kind", "place")
"""What the sandbox's sentences say of a thing, each time in other words."""


def example_texts(base_model: str) -> tuple[str, ...]:
    """Six texts, two and two about the same: what a good embedding should find.

    Args:
        base_model: as a lineage names it. The base of a sandbox knows little English besides that of its own world,
            so its sentences come from there: held-out things, in wordings that no training row has.
    """
    if kind_of(base_model) != "sandbox":
        return ENGLISH
    try:
        seed = sandbox_seed(base_model)
    except GemError:  # a name that some other program wrote
        return ENGLISH
    spec, rng = SandboxSpec(), random.Random(seed)
    world = make_world(seed, spec.entities_per_topic, spec.held_out_per_topic)
    topics = sorted({entity.topic for entity in world.held_out_entities})
    things = [next(e for e in world.held_out_entities if e.topic == topic) for topic in rng.sample(topics, k=3)]
    return tuple(sentence(rng, thing, STATED, EVALUATION) for thing in things for _ in range(2))
