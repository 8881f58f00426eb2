"""Do samples of a conditional INN hold what the layer holds, and do they vary in everything else?

- `sets`: real images, and the sets of images that are compared with them.
- `likeness`: how like each image the ones made for it are, as the network sees them.
- `variation`: how much samples of one image vary, in pixels, codes, factors and hue.
- `invariances`: the likelihood of v, and whether it is independent of z.
- `estimate`: means over the images, with confidence intervals.
"""

from invariances.evaluation.metrics.faithfulness.faithfulness import Faithfulness, faithfulness

__all__ = ["Faithfulness", "faithfulness"]
