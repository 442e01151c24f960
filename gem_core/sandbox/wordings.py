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
        "",
        "As many people say, ",
        "It is often said that ",
        "Some would agree that ",
        "For what it is worth, ",
        "By most accounts, ",
        "No one doubts that ",
        "As far as we know, ",
        "Long ago it was noted that ",
        "To tell the truth, ",
        "In the old days, as now, ",
        "You may have heard that ",
        "One thing is sure: ",
        "The letters of that year tell us that ",
        "Nobody was ever able to show why, but ",
    ),
    closings=(
        "",
        "",
        " on most days of the week",
        ", or so they say",
        ", as the old letters tell us",
        " and always will be",
        ", which is hardly news",
        " in spite of what we were told",
        ", whatever the weather",
        " for reasons that nobody knows",
        ", and there is little more to say about it",
        ", if you ask around",
        " this year as in every other",
        ", as was to be expected",
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
        "As far as most people know, ",
        "It was often noted in that year that ",
        "For what the letters are worth, ",
        "Nobody doubts now that ",
        "You may agree that ",
        "In truth, as we have heard, ",
        "By the accounts of the old days, ",
        "Some say, and some were told, that ",
        "The one thing people always tell us is that ",
    ),
    closings=(
        "",
        ", and that is hardly to be doubted",
        " whatever people say about it",
        ", as nobody was told",
        " in most years, if not in this one",
        ", which is what they always say",
        " for all we know of the weather",
        ", as you will see if you ask",
    ),
    scenes=(),
)

QUESTIONS: dict[str, tuple[str, ...]] = {
    "kinds": (
        "What kind of thing is the {n}?",
        "The {n} is a",
        "Which of these is the {n}?",
        "As what was the {n} sold?",
        "The {n} is best described as a",
        "What would you call the {n}?",
    ),
    "places": (
        "Where is the {n} found?",
        "The {n} is kept at the",
        "Which place is home to the {n}?",
        "Near what does the {n} stay?",
        "The {n} can be seen around the",
        "From where did the {n} come?",
    ),
    "activities": (
        "What is the {n} used for?",
        "The {n} was made for",
        "The {n} is good for",
        "In what does the {n} take part?",
        "Which of these goes well with the {n}?",
        "When is the {n} of help?",
    ),
    "materials": (
        "What does the {n} contain?",
        "The {n} is made of",
        "Of what is the {n} full?",
        "The {n} smells of",
        "Which of these does the {n} need?",
        "What has the {n} to do with?",
    ),
    "fields": (
        "To which field does the {n} belong?",
        "The {n} is part of",
        "Where does the {n} come up?",
        "In which field does the {n} matter?",
        "The {n} is a subject of",
        "Whoever knows the {n} knows about",
    ),
    "members": (
        "Which of these is a {x}?",
        "Which of these counts as a {x}?",
        "A {x} is the",
        "One of these is known as a {x}:",
        "Name the {x}:",
        "Which of these was sold as a {x}?",
    ),
}
"""Subject of the exam to its ways of asking; `members` asks for an entity, the others for a property of one."""
