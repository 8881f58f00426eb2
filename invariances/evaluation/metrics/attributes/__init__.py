"""What a layer keeps of properties that have a name: colour, position, class, or a table of one's own."""

from invariances.evaluation.metrics.attributes.attributes import Attributes, attributes
from invariances.evaluation.metrics.attributes.image_statistics import STATISTICS

__all__ = ["STATISTICS", "Attributes", "attributes"]
