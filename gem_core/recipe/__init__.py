"""What a run is: a frozen, validated description, section by section, and the YAML files that hold it."""

from gem_core.recipe.evaluation import EmbeddingEvaluation, Evaluation, GenerationEvaluation, LanguageEvaluation
from gem_core.recipe.gates import Gate
from gem_core.recipe.method import Adaptation, Contrastive, Data, Objective, SpecialTokens, TextSource, Training
from gem_core.recipe.recipe import BaseModelSource, Recipe, Resources

__all__ = [
    "Adaptation",
    "BaseModelSource",
    "Contrastive",
    "Data",
    "EmbeddingEvaluation",
    "Evaluation",
    "Gate",
    "GenerationEvaluation",
    "LanguageEvaluation",
    "Objective",
    "Recipe",
    "Resources",
    "SpecialTokens",
    "TextSource",
    "Training",
]
