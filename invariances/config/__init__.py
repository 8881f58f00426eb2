"""From YAML files to objects: read, merge, override, check, build.

Every class named in a config receives the arguments of one section, which are compared with its constructor before
any work. No class receives the whole config.

    config = check(read(["configs/digits/clf.yaml"], {"Model/width": "16"}))
    iterator = build_iterator(config, num_steps=600)

- `spelling`: misspelt names, told before anything heavy is imported.
- `reading`: YAML files and overrides to one dict.
- `keys`: the run's own keys at the top level, with their kinds, defaults and help.
- `classes`: finding the classes that a config names.
- `translating`, `aliases`: configs of the older projects, read as present ones.
- `signatures`: arguments compared with what a constructor takes.
- `nodes`: the mappings of a config that describe a network.
- `needs`: what evaluations need of a training task, compared with its class.
- `parts`: the objects that a training task takes: section, check and builder of each, in one table.
- `checking`: all mistakes of a config, reported at once before any work.
- `needs`: whether a task and its model have the methods that an evaluation needs.
- `resolving`: values that are known only when a run starts.
- `building`: data sets, training tasks, evaluations and loggers of a checked config.

The arguments of `model` are in `Model` (or `Transformer`), those of `loss` in `Loss`; `datasets/train`,
`datasets/validation` and entries of `evaluation` hold a dotted class, or `{class: dotted, argument: value}`; the
training task, `iterator`, takes its arguments from the top level.
"""
