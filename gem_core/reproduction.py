"""Was a version made again? By its digest; where that differs, by scores of both under equal settings. Pure.

Equal weights are a proof: the same bytes came out. On another kind of machine, or with other library versions, sums
round differently and the weights end apart; there the averages of embedding and language tell whether it is as good.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gem_core.errors import GemError
from gem_core.evaluation.scores import AVERAGED
from gem_core.judging.comparison import ModelComparison  # noqa: TC001 - pydantic reads it
from gem_core.recipe import Recipe
from gem_core.sources.models import kind_of

if TYPE_CHECKING:
    from gem_core.records.lineage import Lineage

Verdict = Literal["identical", "equal scores", "different", "not comparable"]
MARGIN = 1.0
"""Points that the averages of two trainings may lie apart and still be called equal."""
COMMIT = re.compile(r"[0-9a-f]{40}")


class Reproduction(BaseModel):
    """What came of making a version again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    """``models:/NAME/VERSION``."""
    verdict: Verdict
    sentence: str
    """The verdict with its reason, for people."""
    registered: str
    """Content digest of the version."""
    made: str
    """Content digest of what was made now."""
    folder: str
    """Where that is."""
    changed: dict[str, tuple[str, str]]
    """What is other than it was then, and does not shape the weights by intention: code, image, packages."""
    comparison: ModelComparison | None
    """Of the two, where their digests differ."""

    @property
    def succeeded(self) -> bool:
        """Whether what was made is as good as what is registered."""
        return self.verdict in ("identical", "equal scores")


def pinned(lineage: Lineage) -> Recipe:
    """The recipe of a version at the revisions that were used, also where it named a branch.

    Raises:
        GemError: The recipe is of another version of the platform, which this one does not understand.
    """
    try:
        recipe = Recipe.model_validate(lineage.recipe)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise GemError(
            f"the version's recipe is not one of this platform ({where}: {first['msg']}): "
            f"check out the code it was made with ({lineage.code_commit or 'unknown'})"
        ) from error
    base = recipe.base_model
    if kind_of(base.source) == "hub":
        base = base.model_copy(update={"revision": lineage.base_revision})
    used = [str(source["revision"]) for source in lineage.data_sources]
    sources = tuple(
        source.model_copy(update={"revision": revision}) if COMMIT.fullmatch(revision) else source
        for source, revision in zip(recipe.data.sources, used, strict=True)
    )
    data = recipe.data.model_copy(update={"sources": sources})
    return recipe.model_copy(update={"base_model": base, "data": data})


def check_same(what: str, then: str, now: str) -> None:
    """Refuse to go on from other beginnings.

    Args:
        what: What the digests are of: ``base model``, ``training rows``.
        then: The digest in the lineage.
        now: The digest of what is there now.

    Raises:
        GemError: They differ.
    """
    if then != now:
        raise GemError(
            f"the {what} cannot be had as it was: its digest is {now[:12]} now and was {then[:12]}; "
            "restore it, a training from another would prove nothing"
        )


def changed_since(then: Lineage, now: Lineage) -> dict[str, tuple[str, str]]:
    """What is other now in the code and the libraries: name -> (then, now)."""
    pairs = {"code": (then.code_commit, now.code_commit), "image": (then.image, now.image)}
    for name in sorted(then.packages.keys() | now.packages.keys()):
        pairs[name] = (then.packages.get(name), now.packages.get(name))
    return {name: (one or "unknown", two or "unknown") for name, (one, two) in pairs.items() if one != two}


def concluded(
    version: str,
    registered: str,
    made: str,
    folder: str,
    *,
    changed: dict[str, tuple[str, str]],
    comparison: ModelComparison | None = None,
    margin: float = MARGIN,
) -> Reproduction:
    """The verdict.

    Args:
        version: The version's reference.
        registered: Its content digest.
        made: The digest of what was made now.
        folder: Where that is.
        changed: :func:`changed_since`.
        comparison: Of the version with what was made, where the digests differ.
        margin: Points that the averages may lie apart.
    """
    verdict, sentence = _verdict(version, registered == made, comparison, margin)
    if verdict != "identical" and changed:
        sentence += f" (other than then: {', '.join(changed)})"
    return Reproduction(
        version=version,
        verdict=verdict,
        sentence=sentence,
        registered=registered,
        made=made,
        folder=folder,
        changed=changed,
        comparison=comparison,
    )


def _verdict(version: str, same: bool, comparison: ModelComparison | None, margin: float) -> tuple[Verdict, str]:
    if same:
        return "identical", f"{version} is reproduced exactly: the same weights came out"
    averages = {row.metric: row.difference for row in comparison.at("average")} if comparison else {}
    known = {kind: averages[kind] for kind in AVERAGED if averages.get(kind) is not None}
    if not known:
        return "not comparable", f"other weights than those of {version} came out, and no score tells how far apart"
    apart = ", ".join(f"{kind} {difference:+.2f}" for kind, difference in known.items())
    if any(abs(difference or 0.0) > margin for difference in known.values()):
        return "different", f"{version} is not reproduced: {apart} points, and at most {margin:g} were allowed"
    asked = {row.metric.partition(".")[0] for row in comparison.rows} if comparison else set()
    if left := [kind for kind in AVERAGED if kind in asked and kind not in known]:
        return "not comparable", (
            f"other weights than those of {version} came out, {apart} points apart, and nothing tells how far in "
            f"{' and '.join(left)}: the two were not measured alike"
        )
    return "equal scores", f"{version} is reproduced in its scores, not in its bytes: {apart} points"
