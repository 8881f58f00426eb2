"""What is measured and drawn after each epoch and by `edflow -p`."""

from invariances.evaluation.base import Evaluation, evaluate, first_examples
from invariances.evaluation.dimensions import estimate_dimensions
from invariances.evaluation.drawing import Drawing
from invariances.evaluation.factor_sizes import FactorSizes
from invariances.evaluation.faithfulness import Faithfulness, faithfulness
from invariances.evaluation.fid import FID
from invariances.evaluation.frechet import frechet_distance
from invariances.evaluation.grid import Grid
from invariances.evaluation.interpolations import Interpolations
from invariances.evaluation.response import Response
from invariances.evaluation.swaps import Swaps
from invariances.evaluation.walks import Walks

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
