"""How the dashboard says things: numbers, colours and terms in one voice. Pure functions from values to text."""

import re
from datetime import UTC, datetime

NOTICEABLE = 0.05
"""Points; a smaller change shows as 0.0 and has no colour."""

MINUS = "\N{MINUS SIGN}"
VERDICTS = {"pass": "passed", "fail": "failed", "inconclusive": "inconclusive"}
"""A gate's verdict as people say it."""
VERDICT_BADGES = {
    "pass": ":green-badge[:material/check_circle: passed]",
    "fail": ":red-badge[:material/cancel: failed]",
    "inconclusive": ":orange-badge[:material/help: inconclusive]",
}
ALIAS_BADGES = {
    "champion": ":violet-badge[:material/trophy: champion]",
    "challenger": ":blue-badge[:material/swords: challenger]",
    "shadow": ":gray-badge[:material/visibility: shadow]",
}
TAG_COLOURS = {
    "champion": "#dccdf0",
    "challenger": "#d0def8",
    "shadow": "#e6e7ea",
    "passed": "#cdebdd",
    "failed": "#f6d3d8",
    "inconclusive": "#fae3c3",
    "running": "#d0def8",
    "waiting": "#e6e7ea",
    "finished": "#cdebdd",
    "stopped": "#fae3c3",
    "register": "#e6e7ea",
    "challenge": "#d0def8",
    "promote": "#dccdf0",
    "approve": "#dccdf0",
    "decline": "#f6d3d8",
    "refuse": "#f6d3d8",
    "rollback": "#fae3c3",
    "outside": "#fae3c3",
}
"""Of the same words inside tables; in the log violet makes a champion, amber takes it back, red turns down."""
RUN_STATUS = {
    "RUNNING": "running",
    "SCHEDULED": "waiting",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "stopped",
}

HELP = {
    "embedding": "Average over the embedding tasks (MTEB), in points from 0 to 100: how well the model's embeddings "
    "find, group and compare texts.",
    "language": "Average over the language tasks (lm-eval), in points from 0 to 100: how well the model still answers "
    "and writes.",
    "base": "The model this version was trained from, measured on the same tasks.",
    "champion": "The version in use: the alias `champion` points at it.",
    "challenger": "A version that waits for a person to make it champion.",
    "shadow": "A version that runs beside the champion, for comparison only.",
    "verdict": "What the quality gates said: **passed**, **failed**, or **inconclusive** when a number was missing or "
    "too uncertain to decide.",
    "continuations": "Recorded when the models were measured: each continues the same beginnings of texts, and the "
    "base reads what it wrote.",
    "likelihood": "How likely the base finds what was written, in points: the probability of a token, averaged within "
    "a text and over texts. A loop is likely, too: read it together with the repetition.",
    "perplexity": "The same over all tokens together: how many tokens the base would have found as likely. Lower is "
    "better.",
    "repetition": "Of all runs of four tokens, the share that occurred before in the same text.",
    "length": "Tokens written, of those that were allowed.",
    "similarity": "Cosine similarity: 1 means the model sees the two texts as the same, 0 as unrelated.",
    "rank": "1 is the most similar pair of all.",
}


def escaped(text: str) -> str:
    """The text with everything that Markdown would act on made harmless: names and reasons come from outside."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])", r"\\\1", text)


def points(value: float | None) -> str:
    """A score with one decimal, or a dash."""
    return "–" if value is None else f"{value:.1f}"


def change(difference: float | None) -> str:
    """A signed difference in points, or a dash; a minus sign, not a hyphen, so that it lines up."""
    if difference is None:
        return "–"
    if abs(difference) < NOTICEABLE:
        return "0.0"
    return f"{difference:+.1f}".replace("-", MINUS)


def coloured_change(difference: float | None) -> str:
    """:func:`change` as Markdown: green for a gain, red for a loss."""
    if difference is None or abs(difference) < NOTICEABLE:
        return f":gray[{change(difference)}]"
    return f":{'green' if difference > 0 else 'red'}[{change(difference)}]"


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago something was, in the coarsest unit that still tells it apart."""
    seconds = max(0, int(((now or datetime.now(UTC)) - moment).total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = seconds // length
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def duration(seconds: float | None) -> str:
    """``2 h 05 min``, ``3 min 20 s`` or ``8 s``; a dash where nothing has ended yet."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole >= 3_600:
        return f"{whole // 3_600} h {whole % 3_600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"
