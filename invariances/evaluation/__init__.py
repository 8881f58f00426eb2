"""What is measured and drawn after each epoch and by `edflow -p`."""

from invariances.evaluation.base import Evaluation, evaluate
from invariances.evaluation.faithfulness import Faithfulness, faithfulness
from invariances.evaluation.grid import Grid

EVALUATIONS = {
    "faithfulness": Faithfulness,
    "grid": Grid,
}

__all__ = ["EVALUATIONS", "Evaluation", "Faithfulness", "Grid", "evaluate", "faithfulness"]
