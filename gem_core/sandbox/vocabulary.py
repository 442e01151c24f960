"""The words of the sandbox's world. A table and its two types, and nothing that computes.

Every meaning has two words (`harbour`, `port`), so that two texts can say the same thing with different letters: an
encoder that only counts words cannot see that they agree. No word serves two meanings, and all words are in a form
that fits every wording (nouns, and activities as gerunds), so that the wordings need no grammar.
"""

from __future__ import annotations

from dataclasses import dataclass

Meaning = tuple[str, ...]
"""The words of one meaning, in no order of preference."""


@dataclass(frozen=True)
class Topic:
    """A part of the world: what is in it, where, what for and what of."""

    field: Meaning
    kinds: tuple[Meaning, ...]
    places: tuple[Meaning, ...]
    activities: tuple[Meaning, ...]
    materials: tuple[Meaning, ...]


def _meanings(line: str) -> tuple[Meaning, ...]:
    """`"boat/vessel net/mesh"` becomes `(("boat", "vessel"), ("net", "mesh"))`."""
    return tuple(tuple(words.split("/")) for words in line.split())


def _topic(field: str, kinds: str, places: str, activities: str, materials: str) -> Topic:
    return Topic(_meanings(field)[0], _meanings(kinds), _meanings(places), _meanings(activities), _meanings(materials))


TOPICS: tuple[Topic, ...] = (
    _topic(
        "seafaring/navigation",
        "boat/vessel net/mesh shell/conch",
        "harbour/port reef/shoal beach/shore pier/jetty",
        "sailing/cruising diving/plunging fishing/angling rowing/paddling",
        "salt/brine kelp/seaweed coral/pearl tar/pitch",
    ),
    _topic(
        "woodcraft/forestry",
        "tree/sapling bird/fowl deer/stag",
        "grove/thicket clearing/glade trail/footpath hollow/burrow",
        "hunting/stalking climbing/scaling nesting/roosting foraging/gathering",
        "bark/timber moss/lichen acorns/nuts resin/sap",
    ),
    _topic(
        "cooking/cuisine",
        "pan/skillet soup/broth cake/pastry",
        "pantry/larder oven/stove cellar/basement table/counter",
        "baking/roasting frying/searing tasting/sampling boiling/simmering",
        "flour/dough butter/lard honey/syrup pepper/spice",
    ),
    _topic(
        "music/melody",
        "drum/gong flute/whistle harp/lyre",
        "stage/theatre hall/auditorium chapel/choir studio/gallery",
        "singing/chanting dancing/waltzing tuning/strumming drumming/clapping",
        "brass/bronze ivory/bone strings/cords reed/cane",
    ),
    _topic(
        "carpentry/metalwork",
        "hammer/mallet saw/blade lamp/lantern",
        "forge/smithy bench/workbench shed/barn yard/depot",
        "carving/whittling welding/soldering sanding/polishing drilling/boring",
        "iron/steel copper/tin glue/paste leather/hide",
    ),
    _topic(
        "gardening/horticulture",
        "flower/blossom shrub/bush herb/weed",
        "meadow/lawn greenhouse/hothouse hedge/fence pond/fountain",
        "planting/sowing pruning/trimming watering/sprinkling digging/raking",
        "soil/earth compost/manure pollen/nectar gravel/pebbles",
    ),
    _topic(
        "astronomy/cosmology",
        "star/sun comet/meteor planet/moon",
        "orbit/ring observatory/dome horizon/skyline galaxy/nebula",
        "stargazing/observing circling/spinning glowing/shining drifting/floating",
        "dust/ash ice/frost gas/vapour light/radiance",
    ),
    _topic(
        "medicine/healthcare",
        "pill/tablet bandage/dressing tonic/remedy",
        "ward/infirmary pharmacy/dispensary clinic/hospital laboratory/lab",
        "healing/curing testing/screening nursing/tending resting/sleeping",
        "alcohol/ether cotton/gauze iodine/antiseptic blood/plasma",
    ),
    _topic(
        "trade/commerce",
        "coin/token cloth/fabric basket/hamper",
        "stall/kiosk shop/store square/plaza warehouse/storeroom",
        "selling/vending buying/purchasing weighing/measuring bargaining/haggling",
        "silver/gold silk/velvet wool/yarn paper/parchment",
    ),
    _topic(
        "learning/schooling",
        "book/volume map/chart puzzle/riddle",
        "classroom/schoolroom library/archive playground/courtyard desk/lectern",
        "reading/studying writing/spelling counting/adding drawing/sketching",
        "ink/dye chalk/crayon slate/tile wax/rubber",
    ),
)

COLOURS: tuple[Meaning, ...] = _meanings("red/scarlet blue/azure green/emerald grey/ashen yellow/amber white/pale")
SIZES: tuple[Meaning, ...] = _meanings("big/large small/little heavy/weighty slender/thin")

NAME_STARTS: tuple[str, ...] = (*"bdfgjklmnprstvz", "br", "dr", "gl", "kr", "pl", "st", "tr")
NAME_VOWELS: tuple[str, ...] = tuple("aeiou")
NAME_ENDS: tuple[str, ...] = tuple("bdgklmnprstvxz")
"""The parts of invented names; the first fifteen starts are single letters, which middle syllables begin with."""
