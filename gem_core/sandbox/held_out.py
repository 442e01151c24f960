"""Texts that no training on a sandbox reads: prose like its training rows, about the entities that are held out."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

from gem_core.sandbox.text import passage
from gem_core.sandbox.wordings import TRAINING
from gem_core.sandbox.world import make_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gem_core.sandbox.store import Sandbox

SENTENCES = 3


def held_out_texts(sandbox: Sandbox) -> Iterator[str]:
    """Passages of three sentences in wordings that the base knows, without end; equal worlds give equal texts."""
    spec = json.loads((sandbox.folder / "sandbox.json").read_text(encoding="utf-8"))["spec"]
    entities = make_world(sandbox.seed, spec["entities_per_topic"], spec["held_out_per_topic"]).held_out_entities
    rng = random.Random(f"held-out-{sandbox.seed}")
    while True:
        yield passage(rng, rng.choice(entities), TRAINING, SENTENCES)
