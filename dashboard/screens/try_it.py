"""The page "Try it": a reader's own texts, embedded by two models, and where the two disagree."""

from typing import TYPE_CHECKING

import streamlit as st

from dashboard import charts, queries, similarity, tables
from dashboard.examples import example_texts
from dashboard.family import choose_family
from dashboard.models import Candidate, embed
from dashboard.selection import choose_one
from dashboard.wording import HELP, escaped
from gem_core.errors import GemError

if TYPE_CHECKING:
    import numpy as np

    from gem_core.records.versions import Version

BASE = "base"
SHOWN_PAIRS = 5
COMPARED = "compared"  # the texts that were last asked for, kept so that a change of model shows at once


def page() -> None:
    """The whole page, top to bottom; stops early where there is nothing to try."""
    heading, chooser = st.columns([3, 1], vertical_alignment="bottom")
    heading.title("Try it", anchor=False)
    st.markdown("Type a few texts and see which of them two models find similar.")
    try:
        name = choose_family(chooser)
        versions = queries.versions(name)
        if not versions:
            st.info(f"{escaped(name)} has no versions yet: run `gem demo`.", icon=":material/deployed_code:")
            st.stop()
        left, right = _two_models(versions)
        _ask_for_texts(versions[0])
        if COMPARED in st.session_state:
            _compare(left, right, similarity.texts_of(st.session_state[COMPARED]))
    except GemError as error:
        st.error(escaped(str(error)), icon=":material/error:")
        st.stop()


def _two_models(versions: "list[Version]") -> tuple[Candidate, Candidate]:
    """The two models the reader chose: versions, or the base of one."""
    champion = tables.champion_of(versions) or versions[0]
    candidates = {tables.label(version): _candidate(version) for version in versions}
    bases = _bases(versions)
    candidates |= bases
    usual_right = tables.label(champion)
    own_base = champion.lineage.base_digest if champion.lineage else ""
    usual_left = next((label for label, base in bases.items() if base.digest == own_base), tables.label(versions[-1]))
    columns = st.columns(2)
    chosen = []
    for column, key, title, usual in zip(
        columns, ("left", "right"), ("First model", "Second model"), (usual_left, usual_right), strict=True
    ):
        with column:
            label = choose_one(title, list(candidates), key=key, default=usual)
            st.caption(_described(label, versions))
            chosen.append(candidates[label])
    return chosen[0], chosen[1]


def _candidate(version: "Version") -> Candidate:
    return Candidate(tables.label(version), version.digest, version.reference)


def _bases(versions: "list[Version]") -> dict[str, Candidate]:
    """The base models of the versions by label, each once; numbered when a model had more than one."""
    found: dict[str, Candidate] = {}
    for version in versions:
        lineage = version.lineage
        if lineage is not None and all(base.digest != lineage.base_digest for base in found.values()):
            own = lineage.base_revision != lineage.base_digest  # a hub commit; elsewhere the digest stands in for one
            reference = f"{lineage.base_model}@{lineage.base_revision}" if own else lineage.base_model
            label = f"{BASE} {len(found) + 1}" if found else BASE
            found[label] = Candidate(label, lineage.base_digest, reference)
    return found


def _described(label: str, versions: "list[Version]") -> str:
    for version in versions:
        if tables.label(version) == label:
            return ", ".join((*version.aliases, f"trained from {escaped(tables.base_name(version))}"))
    return "the model before training; a text is the mean of its token states"


def _ask_for_texts(version: "Version") -> None:
    """A box to type in, with an example; what it holds is kept once the reader asks for it."""
    example = "\n".join(example_texts(version.lineage.base_model if version.lineage else ""))
    with st.form("texts", border=False):
        typed = st.text_area(
            "Texts, one per line",
            example,
            height=170,
            help=f"Two to {similarity.MOST_TEXTS} lines, each at most {similarity.LONGEST_TEXT} characters.",
        )
        if st.form_submit_button("Compare", type="primary", icon=":material/compare_arrows:"):
            st.session_state[COMPARED] = typed


def _compare(left: Candidate, right: Candidate, texts: list[str]) -> None:
    """Both similarity matrices, and the pairs about which the models disagree most."""
    with st.spinner("Embedding …"):
        matrices = [similarity.cosine_similarities(embed(candidate, texts)) for candidate in (left, right)]
    st.subheader("Similarity of every pair", anchor=False, help=HELP["similarity"])
    for column, candidate, matrix in zip(st.columns(2, gap="large"), (left, right), matrices, strict=True):
        with column:
            st.markdown(f"**{candidate.label}**")
            st.altair_chart(
                charts.similarity_chart(matrix, texts, _lowest(matrices)),
                width="stretch",
                alt=f"Similarity of every pair of texts by {candidate.label}",
            )
    if left == right:
        st.info("Both sides are the same model: choose another one to see differences.", icon=":material/info:")
        return
    st.subheader("Where they disagree most", anchor=False)
    st.caption(
        "Every model has its own scale of similarity, so look at the order of the pairs: rank 1 is the pair that "
        "a model finds most similar of all."
    )
    found = similarity.pairs(*matrices)[:SHOWN_PAIRS]
    table = similarity.pair_table(found, texts, left.label, right.label)
    column_config = st.column_config
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        height="content",
        column_config={
            candidate.label: column_config.NumberColumn(format="%.3f", help=HELP["similarity"])
            for candidate in (left, right)
        }
        | {f"Rank, {candidate.label}": column_config.NumberColumn(help=HELP["rank"]) for candidate in (left, right)},
    )


def _lowest(matrices: "list[np.ndarray]") -> float:
    """Where the common colour scale begins."""
    return min(float(matrix.min()) for matrix in matrices)


page()
