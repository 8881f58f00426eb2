"""What is measured and drawn after each epoch and by `edflow -p`."""

from invariances.evaluation.base import Evaluation, evaluate, first_examples
from invariances.evaluation.metrics.dimensions import estimate_dimensions
from invariances.evaluation.metrics.factor_sizes import FactorSizes
from invariances.evaluation.metrics.faithfulness import Faithfulness, faithfulness
from invariances.evaluation.metrics.fid.fid import FID
from invariances.evaluation.metrics.fid.frechet import frechet_distance
from invariances.evaluation.metrics.response import Response
from invariances.evaluation.metrics.swaps import Swaps
from invariances.evaluation.pictures.base import Drawing
from invariances.evaluation.pictures.grid import Grid
from invariances.evaluation.pictures.interpolations import Interpolations
from invariances.evaluation.pictures.walks import Walks

EVALUATIONS = {
    "factor_sizes": FactorSizes,
    "faithfulness": Faithfulness,
    "fid": FID,
    "grid": Grid,
    "interpolations": Interpolations,
    "response": Response,
    "swaps": Swaps,
    "walks": Walks,
}

__all__ = [
    "EVALUATIONS",
    "FID",
    "Drawing",
    "Evaluation",
    "FactorSizes",
    "Faithfulness",
    "Grid",
    "Interpolations",
    "Response",
    "Swaps",
    "Walks",
    "estimate_dimensions",
    "evaluate",
    "faithfulness",
    "first_examples",
    "frechet_distance",
]
