"""Metrics and pictures of a model, after each epoch and in `edflow -p`.

A metric or picture is one file with a subclass of `Evaluation`, and one line in `EVALUATIONS`, under the name that
configs use.
"""

from invariances.evaluation.base import Evaluation, Results, evaluate, first_examples
from invariances.evaluation.metrics.attributes import Attributes, attributes
from invariances.evaluation.metrics.dimensions import estimate_dimensions
from invariances.evaluation.metrics.factor_sizes import FactorSizes, factor_sizes
from invariances.evaluation.metrics.faithfulness import Faithfulness, faithfulness
from invariances.evaluation.metrics.fid.extractors import LayerExtractor, PictureExtractor, random_network
from invariances.evaluation.metrics.fid.fid import FID, scores
from invariances.evaluation.metrics.fid.frechet import FeatureStatistics, frechet_distance
from invariances.evaluation.metrics.fid.inception import inception
from invariances.evaluation.metrics.fid.kernel_distance import kernel_distance
from invariances.evaluation.metrics.fid.precision_recall import precision_and_recall
from invariances.evaluation.metrics.reconstruction import Reconstruction, reconstruction_errors
from invariances.evaluation.metrics.response import Response
from invariances.evaluation.metrics.swaps import Swaps, swap_scores
from invariances.evaluation.pictures.base import Drawing
from invariances.evaluation.pictures.grid import Grid
from invariances.evaluation.pictures.interpolations import Interpolations
from invariances.evaluation.pictures.walks import Walks

EVALUATIONS: dict[str, type[Evaluation]] = {
    "attributes": Attributes,
    "factor_sizes": FactorSizes,
    "faithfulness": Faithfulness,
    "fid": FID,
    "grid": Grid,
    "interpolations": Interpolations,
    "reconstruction": Reconstruction,
    "response": Response,
    "swaps": Swaps,
    "walks": Walks,
}

__all__ = [
    "EVALUATIONS",
    "FID",
    "Attributes",
    "Drawing",
    "Evaluation",
    "FactorSizes",
    "Faithfulness",
    "FeatureStatistics",
    "Grid",
    "Interpolations",
    "LayerExtractor",
    "PictureExtractor",
    "Reconstruction",
    "Response",
    "Results",
    "Swaps",
    "Walks",
    "attributes",
    "estimate_dimensions",
    "evaluate",
    "factor_sizes",
    "faithfulness",
    "first_examples",
    "frechet_distance",
    "inception",
    "kernel_distance",
    "precision_and_recall",
    "random_network",
    "reconstruction_errors",
    "scores",
    "swap_scores",
]
