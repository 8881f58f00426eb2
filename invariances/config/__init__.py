"""A YAML config becomes objects: read, merge, override, check, build.

Every class named in a config gets the arguments of one section, compared with its constructor before any work; no
class receives the whole config.

    config = check(read(["configs/digits/clf.yaml"], {"Model/width": "16"}))
    iterator = build_iterator(config, num_steps=600)

- `reading`: YAML files and overrides to one dict.
- `keys`: the run's own keys at the top level, with their kinds, defaults and help.
- `classes`, `aliases`: finding the classes that a config names, those of the older projects included.
- `signatures`: arguments compared with what a constructor takes.
- `nodes`: which mappings stand for a network.
- `parts`: the objects that a training task takes: section, check and builder of each, in one table.
- `checking`: all mistakes of a config at once, before any work.
- `building`: data sets, training tasks, evaluations and loggers of a checked config.

The arguments of `model` are in `Model` (or `Transformer`), those of `loss` in `Loss`; `datasets/train`,
`datasets/validation` and entries of `evaluation` hold a dotted class, or `{class: dotted, argument: value}`; the
training task, `iterator`, takes its arguments from the top level.
"""
