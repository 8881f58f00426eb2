"""Released models: `zoo.load(name)` downloads one, verifies it, and gives it in evaluation mode.

- `entries`: the record of each.
- `store`: how they are fetched, verified and loaded.
- `hub`: models of the Hugging Face hub.

>>> from invariances.zoo import zoo
>>> zoo.names()[:2]
['cinn_alexnet_aae_conv5', 'cinn_alexnet_aae_fc6']
"""

from invariances.zoo import hub, store
from invariances.zoo.entries import Entry
from invariances.zoo.store import Zoo, zoo

PREFIXES = (store.PREFIX, hub.PREFIX)  # of texts that name a model to download

__all__ = ["PREFIXES", "Entry", "Zoo", "zoo"]
