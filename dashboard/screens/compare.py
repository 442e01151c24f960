"""The page "Versions": every trained version beside its base and the champion, what the gates said, recent runs."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import streamlit as st

from dashboard import charts, queries, tables, writing
from dashboard.family import choose_family
from dashboard.panels import coloured_tags, gate_cards, unreadable, version_badges
from dashboard.selection import choose_one, choose_some
from dashboard.wording import (
    HELP,
    NOTICEABLE,
    ago,
    coloured_change,
    duration,
    escaped,
    points,
)
from gem_core.errors import GemError

if TYPE_CHECKING:
    from gem_core.records.versions import Version

SHOWN_RUNS = 20
BASE = "base"


def page() -> None:
    """The whole page, top to bottom; stops early where there is nothing to show."""
    heading, chooser = st.columns([3, 1], vertical_alignment="bottom")
    heading.title("Versions", anchor=False)
    try:
        name = choose_family(chooser, _nothing_yet)
        versions = queries.versions(name)
        if not versions:
            _nothing_yet(name)
        st.markdown(_summary(versions))
        _waiting(versions)
        _overview(versions)
        st.space("small")
        _detail(versions)
        st.space("small")
        st.subheader("Recent runs", anchor=False)
        _recent_runs(versions)
    except GemError as error:
        unreadable(error)
        st.stop()


def _nothing_yet(name: str | None = None) -> NoReturn:
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        whose = f" of {escaped(name)}" if name else ""
        st.markdown(f"### :material/deployed_code: No versions{whose} yet", width="content")
        st.markdown(
            "Run `gem demo` to train, measure and register a first one; it takes a few minutes.", width="content"
        )
        st.space("small")
    st.subheader("Recent runs", anchor=False)
    _recent_runs([])
    st.stop()


def _summary(versions: "list[Version]") -> str:
    """The state of a model in a sentence or two."""
    champion, newest = tables.champion_of(versions), versions[0]
    count = "One version" if len(versions) == 1 else f"{len(versions)} versions"
    newest_said = f"{count}, the newest registered {ago(newest.created)}."
    if champion is None:
        return f"No champion yet: no version has been promoted. {newest_said}"
    gains = [
        f"{coloured_change(gain)} in {kind}"
        for kind in tables.KINDS
        if (gain := tables.difference(champion.scores, champion.baseline, kind)) is not None
    ]
    against = f", {' and '.join(gains)} against its base" if gains else ""
    return f"**{tables.label(champion)}** is the champion{against}. {newest_said}"


def _waiting(versions: "list[Version]") -> None:
    """A way to the page where the challenger is decided on, while one waits."""
    challenger = tables.holder_of(versions, "challenger")
    if challenger is not None:
        st.page_link(
            "screens/promotion.py",
            label=f"**{tables.label(challenger)}** waits for a decision",
            icon=":material/swords:",
            query_params={"model": challenger.name},
        )


def _overview(versions: "list[Version]") -> None:
    """All versions as one table."""
    table = tables.version_table(versions)
    styled = table.style.apply(lambda changes: changes.map(_colour), subset=list(tables.CHANGES))
    column = st.column_config
    vs_base = "Points gained or lost against its own base model, on the same tasks."
    vs_champion = "Points gained or lost against the present champion, on the same tasks."
    st.dataframe(
        styled,
        hide_index=True,
        width="stretch",
        height="content" if len(table) <= 10 else 387,
        placeholder="–",
        column_config={
            "version": column.TextColumn("Version", pinned=True, width="small"),
            "aliases": coloured_tags(
                "Alias",
                ("champion", "challenger", "shadow"),
                f"{HELP['champion']} Challenger: {HELP['challenger']} Shadow: {HELP['shadow']}",
            ),
            "verdict": coloured_tags("Gates", ("passed", "failed", "inconclusive"), HELP["verdict"]),
            "embedding": column.NumberColumn("Embedding", format="%.1f", help=HELP["embedding"]),
            "embedding_change_base": column.NumberColumn("vs. base", format="%+.1f", help=vs_base),
            "embedding_change_champion": column.NumberColumn("vs. champion", format="%+.1f", help=vs_champion),
            "language": column.NumberColumn("Language", format="%.1f", help=HELP["language"]),
            "language_change_base": column.NumberColumn("vs. base ", format="%+.1f", help=vs_base),
            "language_change_champion": column.NumberColumn("vs. champion ", format="%+.1f", help=vs_champion),
            "base": column.TextColumn("Base model", help=HELP["base"]),
            "registered": column.DatetimeColumn("Registered", format="D MMM YYYY, HH:mm"),
        },
    )


def _detail(versions: "list[Version]") -> None:
    """One version: its scores, its tasks beside other versions, its gate report and its origin."""
    by_label = {tables.label(version): version for version in versions}
    champion = tables.champion_of(versions)
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    with left:
        chosen = choose_one("Version in detail", list(by_label), key="version", default=tables.label(versions[0]))
    version = by_label[chosen]
    right.markdown(f"{version_badges(version)} {_made(version)}")
    _averages(version, champion)
    wide, narrow = st.columns([3, 2], gap="large")
    with wide:
        st.subheader("Task by task", anchor=False)
        beside = _tasks(version, by_label, champion)
    with narrow:
        st.subheader("Quality gates", anchor=False, help=HELP["verdict"])
        _gates(version)
        _origin(version)
    digests = {BASE: version.lineage.base_digest if version.lineage else ""}
    digests |= {label: one.digest for label, one in by_label.items()}
    writing.show(chosen, {label: digests[label] for label in (*beside, chosen)})


def _made(version: "Version") -> str:
    return f":gray[registered {ago(version.created)}, trained from {escaped(tables.base_name(version))}]"


def _averages(version: "Version", champion: "Version | None") -> None:
    """Two cards: the averages, and what they changed."""
    for kind, card in zip(tables.KINDS, st.columns(2), strict=True):
        with card.container(border=True, horizontal=True):
            gain = tables.difference(version.scores, version.baseline, kind)
            over_champion = tables.against_champion(version, champion, kind)
            st.metric(f"{kind.capitalize()} average", points(tables.average(version.scores, kind)), help=HELP[kind])
            st.metric("Its base", points(tables.average(version.baseline, kind)), help=HELP["base"])
            st.metric("Against the base", coloured_change(gain))
            st.metric(
                "Against the champion",
                coloured_change(over_champion),
                help=f"{HELP['champion']} A dash: it is this one, there is none, or it was measured on other tasks.",
            )


def _tasks(version: "Version", by_label: "dict[str, Version]", champion: "Version | None") -> list[str]:
    """The scores of every task, beside the versions the reader chose; returns their labels."""
    others = [BASE, *(label for label in by_label if label != tables.label(version))]
    usual = [BASE, *([tables.label(champion)] if champion and champion is not version else [])]
    beside = choose_some("Shown beside it", others, key="beside", default=usual)
    scores = {label: version.baseline if label == BASE else by_label[label].scores for label in beside}
    scores = {**scores, tables.label(version): version.scores}
    if not tables.task_scores(version.scores, "embedding") and not tables.task_scores(version.scores, "language"):
        st.info(
            "This version has no scores yet: they appear when its evaluation has ended.",
            icon=":material/hourglass_top:",
        )
        return beside
    if version.limited:
        st.caption(f"Measured on a part of their items only: {', '.join(map(escaped, version.limited))}.")
    for kind in tables.KINDS:
        table = tables.score_table(scores, kind)
        if len(table):
            st.caption(f"{kind.capitalize()} tasks", help=HELP[kind])
            st.altair_chart(
                charts.score_chart(table, list(scores), [BASE, *by_label]),
                width="stretch",
                alt=f"Points of {', '.join(scores)} on each {kind} task",
            )
    return beside


def _gates(version: "Version") -> None:
    """What each gate found, in its own words."""
    gate_cards(queries.gate_report(version))


def _origin(version: "Version") -> None:
    """Where the version comes from, folded away until someone asks."""
    with st.expander("Where it comes from", icon=":material/account_tree:"):
        lineage = version.lineage
        facts = {
            "Name for every command": version.reference,
            "Weights digest": version.digest or "not recorded",
            "MLflow run": version.run_id,
        }
        if lineage is not None:
            facts |= {
                "Base model": f"{lineage.base_model} at {lineage.base_revision[:12]}",
                "Base licence": lineage.base_license or "not stated",
                "Training rows": lineage.data_digest[:12],
                "Recipe": f"{lineage.recipe.get('name', 'unnamed')} ({lineage.recipe_digest[:12]})",
                "Steps": "not recorded" if lineage.steps is None else f"{lineage.steps:,}",
                "Training time": duration(lineage.training_seconds),
                "Champion then": f"v{lineage.parent}" if lineage.parent else "none",
            }
        for term, fact in facts.items():
            st.markdown(f":gray[{term}]  \n{escaped(fact)}")


@st.fragment(run_every=10.0)
def _recent_runs(versions: "list[Version]") -> None:
    """The latest runs of all models; asks again by itself, so that a running one can be watched."""
    try:
        runs = queries.runs(SHOWN_RUNS)
    except GemError as error:  # caught here, too: when it asks by itself, the page around it does not run
        unreadable(error)
        return
    if not runs:
        st.caption("No run has been started yet.")
        return
    made = {version.run_id: tables.label(version) for version in versions}
    table = tables.run_table(runs, made, datetime.now(UTC))
    table["took"] = table["seconds"].map(duration)
    column = st.column_config
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        height="content",
        column_order=("started", "run", "model", "status", "took", "made", "run_id"),
        column_config={
            "started": column.DatetimeColumn("Started", format="D MMM YYYY, HH:mm"),
            "run": column.TextColumn("Run"),
            "model": column.TextColumn("Model"),
            "status": coloured_tags("Status", ("running", "waiting", "finished", "failed", "stopped")),
            "took": column.TextColumn("Took", help="So far, for a run that has not ended."),
            "made": column.TextColumn("Version", help="The version of the chosen model that this run made."),
            "run_id": column.TextColumn("MLflow run", help="Its id in the MLflow UI."),
        },
    )


def _colour(difference: float) -> str:
    if not abs(difference) >= NOTICEABLE:  # also NaN
        return "color: #8a8f98"
    return "color: #2f8f5b" if difference > 0 else "color: #c4435b"


page()
