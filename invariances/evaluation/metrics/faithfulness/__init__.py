"""Faithfulness of a conditional INN: its samples keep the representation, and vary in everything else.

- `encoded`: real images, and the sets of generated images that are compared with them.
- `similarity`: similarity of generated images to the real one in the network's representation.
- `variation`: variance of the samples of one image in pixels, codes, factors and hue.
- `likelihood`: the likelihood of v, and its independence of z.
- `estimate`: means over the images, with confidence intervals.
"""

from invariances.evaluation.metrics.faithfulness.faithfulness import Faithfulness, faithfulness

__all__ = ["Faithfulness", "faithfulness"]
