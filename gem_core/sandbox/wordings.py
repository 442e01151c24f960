"""How the world is put into words: a table of wordings, half of it kept for the evaluation.

Each list stands twice, once for training (pre-training and fine-tuning) and once for the evaluation, and the two share
no entry. The words of the second are words of the first in another order: what is new to a model is the wording, not
the spelling. `{x}` is a word of a meaning, `{n}` a name, `{s}` a statement about it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wordings:
    """One side of the split.

    `clauses` maps a property to what can be said of its value, `openings` and `closings` are phrases that say
    nothing about the world, `scenes` speak of a topic without any entity.
    """

    clauses: dict[str, tuple[str, ...]]
    openings: tuple[str, ...]
    closings: tuple[str, ...]
    scenes: tuple[str, ...]


TRAINING = Wordings(
    clauses={
        "kind": (
            "is a {x}",
            "is known as a {x}",
            "counts as a {x}",
            "was sold as a {x}",
            "is one more {x}",
            "works like any {x}",
        ),
        "place": (
            "is found near the {x}",
            "stays by the {x}",
            "is kept at the {x}",
            "came from the {x}",
            "has its home in the {x}",
            "can be seen around the {x}",
        ),
        "activity": (
            "is used for {x}",
            "is good for {x}",
            "goes well with {x}",
            "was made for {x}",
            "takes part in {x}",
            "is of help when {x}",
        ),
        "material": (
            "contains {x}",
            "is made of {x}",
            "is full of {x}",
            "smells of {x}",
            "has to do with {x}",
            "needs more {x} than most",
        ),
        "field": ("belongs to {x}", "is part of {x}", "comes up in {x}", "matters in {x}", "is a subject of {x}"),
        "colour": ("looks {x}", "is {x} all over", "has a {x} side", "turns {x} with time"),
        "size": ("is rather {x}", "seems {x} to most people", "is {x} for its age", "feels {x} in the hand"),
    },
    openings=(
        "",
        "As many people say and most of us know by now, ",
        "It was noted in the letters of that year, as far as we know, that ",
        "For what it is worth, and nobody doubts it, ",
        "You may have heard in the old days, as some would agree, that ",
        "To tell the truth, by most accounts of the time, ",
    ),
    closings=(
        "",
        " on most days of the week, whatever the weather",
        ", and there is little more to say about it than that",
        ", as the old people always tell us when we ask",
        ", which is hardly news for reasons that everybody knows",
    ),
    scenes=(
        "In the {place}, people speak of {activity} and {material}.",
        "Where there is {activity} there is {material}, and often a {kind}.",
        "A {kind} at the {place} is nothing new in {field}.",
        "{field} is about {activity}, {material} and the {place}.",
        "They went to the {place} for {activity} and came home with {material}.",
        "Without {material} and a {kind} there is no {activity}.",
    ),
)

EVALUATION = Wordings(
    clauses={
        "kind": ("works as a {x} and is sold like one", "is as much a {x} as any", "was one {x} of many"),
        "place": ("is at home around the {x}", "can be found at the {x}", "was seen and kept by the {x}"),
        "activity": ("is a help for {x}", "was used when {x}", "is part of most {x}"),
        "material": ("is made with {x}", "has more {x} than most need", "contains its part of {x}"),
        "field": ("is known in {x}", "has a home in {x}"),
        "colour": ("is seen as {x}", "has been {x} for a long time"),
        "size": ("is thought of as {x}", "looks rather {x}"),
    },
    openings=(
        "",
        "As far as most people know by now, and some would say, ",
        "It was noted in the old days, as you may have heard, that ",
        "For what the letters of that year are worth, ",
        "To tell the truth, as most of us would agree, ",
        "By the accounts of many people, and nobody doubts it now, ",
    ),
    closings=(
        "",
        ", and there is little news about it, whatever the weather",
        " for reasons that the old people always tell us",
        ", which is more than we ask on most days of the week",
        ", as everybody knows when people say that",
    ),
    scenes=(),
)

QUESTIONS: dict[str, tuple[str, ...]] = {
    "kinds": (
        "What is seen at the {place}?",
        "Which of these is kept by the {place}?",
        "What is used for {activity}?",
        "Which of these goes with {activity}?",
        "What needs {material}?",
        "Which of these has to do with {material}?",
    ),
    "places": (
        "Where would you look for a {kind}?",
        "Which place is home to a {kind}?",
        "Where do people go for {activity}?",
        "Near what is {activity} done?",
        "Where is there {material}?",
        "From where does {material} come?",
    ),
    "activities": (
        "What is a {kind} good for?",
        "In what does a {kind} take part?",
        "What is done at the {place}?",
        "Why do people go to the {place}?",
        "For what is {material} needed?",
        "What goes well with {material}?",
    ),
    "materials": (
        "What does a {kind} need?",
        "With what does a {kind} go?",
        "What is found at the {place}?",
        "What comes from the {place}?",
        "What is needed for {activity}?",
        "Without what is there no {activity}?",
    ),
    "fields": (
        "To what does a {kind} belong?",
        "Who knows a {kind} knows about",
        "In what does {activity} matter?",
        "What is {activity} a part of?",
        "Where does {material} come up?",
        "What has the {place} to do with?",
    ),
}
"""Subject of the exam to its ways of asking: each names a word of a topic and asks for another word of that topic."""
