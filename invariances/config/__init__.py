"""A YAML config becomes objects: read, merge, override, check, build. Knows nothing of what it builds.

Every class named in a config gets the arguments of one section, compared with its constructor before any
work; no class sees the whole config.

    config = check(read(["configs/digits/clf.yaml"], {"Model/width": "16"}))
    model = build_model(config)

- `model` takes the arguments in `Model` (or `Transformer`), `loss` those in `Loss`.
- `datasets/train`, `datasets/validation` and entries of `evaluation` hold a dotted class, or `{class: dotted,
  argument: value}`.
- `iterator`, the training task, takes its arguments from the top level: whatever its constructor names is
  allowed there, and with `**kwargs` any key. Those that are objects come from sections (see `keys.OBJECTS`).
- all other keys of the top level are the run's own (see `keys.KEYS`).
"""

from invariances.config.building import (
    build,
    build_dataset,
    build_evaluations,
    build_integrations,
    build_iterator,
    build_loss,
    build_model,
    build_named,
    iterator_arguments,
    learning_rate,
    names_a_class,
    takes,
)
from invariances.config.checking import check
from invariances.config.classes import locate
from invariances.config.keys import KEYS
from invariances.config.reading import dump, merge, parse, read, read_file

__all__ = [
    "KEYS",
    "build",
    "build_dataset",
    "build_evaluations",
    "build_integrations",
    "build_iterator",
    "build_loss",
    "build_model",
    "build_named",
    "check",
    "dump",
    "iterator_arguments",
    "learning_rate",
    "locate",
    "merge",
    "names_a_class",
    "parse",
    "read",
    "read_file",
    "takes",
]
