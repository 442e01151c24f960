"""What models write: their recorded continuations of the same prompts, side by side, with what was read off them."""

from typing import TYPE_CHECKING

import streamlit as st

from dashboard import queries
from dashboard.selection import choose_one
from dashboard.wording import HELP, escaped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dashboard.tables import Written

IN_A_ROW = 3
"""Texts beside each other."""
DECODING = {"sampled": "drawn from the model's distribution", "greedy": "the likeliest token each time"}


def show(chosen: str, models: "Mapping[str, str]") -> None:
    """The figures of each model, all texts as a table, and one prompt to read; nothing where nothing is recorded.

    Args:
        chosen: the model in question: others are shown as far as they wrote under the settings of this one.
        models: what the page calls a model -> its content digest, in the order shown.
    """
    found = {written.decoding: written for written in queries.written(chosen, models)}
    if not found:
        return
    st.subheader("What it writes", anchor=False, help=HELP["continuations"])
    way = next(iter(found))
    if len(found) > 1:
        way = choose_one("Decoding", list(found), key="decoding", default=way)
    written = found[way]
    shown = list(written.figures["model"])
    st.caption(_said(written, [model for model in models if model not in shown]))
    _figures(written)
    _all(written)
    _one(written)


def _said(written: "Written", without: list[str]) -> str:
    """What the tables hold, and what they do not."""
    count = len(written.prompts)
    prompts = f"The first {count} prompts, a quick look" if written.limited else f"{count} prompts"
    said = [f"{prompts}, the same for all; at most {written.allowed} tokens, {DECODING[written.decoding]}."]
    if without:
        said.append(f"Nothing under these settings is recorded here of {', '.join(without)}.")
    return " ".join(said)


def _figures(written: "Written") -> None:
    column = st.column_config
    st.dataframe(
        written.figures,
        hide_index=True,
        width="stretch",
        height="content",
        placeholder="–",
        column_config={
            "model": column.TextColumn("Model"),
            "likelihood": column.NumberColumn("Likelihood", format="%.1f", help=HELP["likelihood"]),
            "perplexity": column.NumberColumn("Perplexity", format="%.2f", help=HELP["perplexity"]),
            "repetition": column.NumberColumn("Repetition", format="%.1f %%", help=HELP["repetition"]),
            "length": column.NumberColumn("Length", format="%.1f %%", help=HELP["length"]),
        },
    )


def _all(written: "Written") -> None:
    table, column = written.side_by_side(), st.column_config
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        height="content" if len(table) <= 6 else 247,
        column_config={
            "prompt": column.TextColumn("Prompt", pinned=True, width="medium"),
            **{model: column.TextColumn(model, width="large") for model in table.columns[1:]},
        },
    )


def _one(written: "Written") -> None:
    """One prompt, and what each model made of it, whole."""
    prompts = written.prompts
    prompt = choose_one("Read one", prompts, key="prompt", default=prompts[0])
    rows = list(written.texts[written.texts["prompt"] == prompt].itertuples())
    for start in range(0, len(rows), IN_A_ROW):
        for row, card in zip(rows[start : start + IN_A_ROW], st.columns(IN_A_ROW), strict=False):
            with card.container(border=True, height="stretch"):
                st.markdown(f"**{escaped(row.model)}**")
                st.markdown(f":gray[{_lines(prompt)}]{_lines(row.continuation)}")
                st.caption(
                    f"{row.tokens} tokens · likelihood {100 * row.likelihood:.1f} · "
                    f"repetition {100 * row.repetition:.1f} %"
                )


def _lines(text: str) -> str:
    """A text as Markdown that keeps its lines."""
    return escaped(text).replace("\n", "  \n")
