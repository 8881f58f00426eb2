"""`edflow`: train a model, resume its training, evaluate it.

The flags select one of these:

| command | action | run folder |
|---|---|---|
| `-b A.yaml B.yaml -t` | train from the start, or from the weights of its `checkpoint` | new run |
| `-b A.yaml -t --seeds N` | train N times, with the seeds 0 … N − 1 | N new runs |
| `-b A.yaml -t --each B.yaml C.yaml` | train A + B and A + C | a new run for each |
| `-b A.yaml -t -c CKPT` | train from the weights of CKPT, from step 0 | new run |
| `-b A.yaml -c CKPT` | evaluate CKPT | new run |
| `-b A.yaml` | evaluate the `checkpoint` that it names | new run |
| `-p RUN` | evaluate its last checkpoint | RUN |
| `-p RUN -c CKPT` | evaluate CKPT | RUN |
| `-p RUN -t` | resume from its last checkpoint: weights, optimiser, step, batch of the epoch | RUN |
| `-p RUN -t -c CKPT` | resume from CKPT | RUN if CKPT is its last checkpoint, else new run |
| `-p RUN -t -r` | train from the weights of its last checkpoint, from step 0 | new run |

With `-p`, files given by `-b` and overrides are merged into the saved config. With `-d`, trainings are new runs.

Run folders and configs from strangers cannot bring code of their own: YAML is read by a safe loader, checkpoints as
tensors and plain containers. They call the classes of this package and of torch.nn, and those that `--allow` and your
own configs have allowed in this folder: see `invariances.config.allowing`.
"""

import argparse
import logging
import sys
import traceback
from importlib.metadata import version
from typing import Any

from invariances.cli.command_line import Parser, split_overrides
from invariances.cli.series import check_series, is_series, train_series
from invariances.config.keys import KEYS
from invariances.config.spelling import refuse_misspelt
from invariances.errors import Stopped, UserError
from invariances.utils.names import nearest, printable
from invariances.utils.process_settings import set_up_process
from invariances.utils.shipped_configs import find_config
from invariances.utils.signals import raise_on_signals, stop_first

log = logging.getLogger("invariances.edflow")

EXAMPLES = """examples:
  edflow -b configs/digits/clf.yaml -t                             train
  edflow -b configs/digits/cinn.yaml configs/digits/layers/conv1.yaml -t
  edflow -b configs/digits/clf.yaml -t --batch_size 100 --Model/width=16
  edflow -b configs/digits/clf.yaml -t --seeds 5                   five trainings that differ in their seed alone
  edflow -b configs/digits/cinn.yaml -t --each configs/digits/layers/*.yaml --jobs 2
  edflow -p logs/latest                                            evaluate the last checkpoint
  edflow -p logs/latest -t --num_steps 2000                        resume, and train longer
  edflow -p logs/latest -c logs/latest/train/checkpoints/model-600.ckpt
  edflow -b configs/digits/clf.yaml -c latest:digits_clf           evaluate a checkpoint
  edflow -b configs/digits/clf.yaml -t -d                          try a config: a few steps

overrides:
  --Section/key VALUE or --Section/key=VALUE replaces a value of the config; VALUE is YAML, such as
  1e-4, null, [22, 11, 31] or "text with spaces"

keys of a config:
"""
OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ("-b", "--base"): {
        "nargs": "+",
        "action": "extend",
        "default": [],
        "metavar": "FILE",
        "help": "config files, merged left to right",
    },
    ("-t", "--train"): {"action": "store_true", "help": "train; without it, evaluate"},
    ("-p", "--project"): {"metavar": "RUN", "help": "earlier run: its folder, or a config in it"},
    ("-c", "--checkpoint"): {
        "metavar": "CKPT",
        "help": "checkpoint: a file, latest:EXPERIMENT, an exported folder, or zoo:NAME",
    },
    ("-n", "--name"): {"metavar": "NAME", "help": "name of a new run (default: experiment_name), or of an evaluation"},
    ("-r", "--retrain"): {
        "action": "store_true",
        "help": "train from the weights of the checkpoint, from step 0 with a new optimiser",
    },
    ("--seeds",): {
        "type": int,
        "metavar": "N",
        "help": "train N times, with the seeds 0 … N − 1; `invariances report` shows the spread over them",
    },
    ("--each",): {
        "nargs": "+",
        "action": "extend",
        "metavar": "FILE",
        "help": "a training for each of these files, which is merged into those of -b",
    },
    ("--jobs",): {
        "type": int,
        "metavar": "N",
        "help": "trainings of --each or --seeds at a time, which share the cores, or have a GPU each (default: 1)",
    },
    ("-d", "--debug"): {
        "action": "store_true",
        "help": "a few steps on a few examples, without integrations; print tracebacks",
    },
    ("--allow-other-network",): {
        "action": "store_true",
        "help": "use a checkpoint with other frozen networks than it was trained with",
    },
    ("--allow",): {
        "action": "append",
        "default": [],
        "metavar": "NAME",
        "help": "package or module whose classes configs may call; remembered in .invariances.yaml (repeatable)",
    },
    ("-l", "--log_level"): {
        "type": str.lower,
        "choices": ("debug", "info", "warn", "warning", "error", "critical"),
        "default": "info",
        "metavar": "LEVEL",
        "help": "debug, info (default), warning, error or critical",
    },
    ("--version",): {"action": "version", "version": f"%(prog)s of invariances {version('invariances')}"},
}
FLAGS = {flag for flags in OPTIONS for flag in flags} | {"-h", "--help"}
SWITCHES = {flag for flags, settings in OPTIONS.items() if settings.get("action") == "store_true" for flag in flags}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code: 0, 2 after a UserError, 130, 143, 138 after Ctrl-C, SIGTERM, SIGUSR1."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        options = parse(words)
        if is_series(options):
            return train_series(words, options)
        logging.basicConfig(format="%(message)s")
        logging.getLogger("invariances").setLevel(options.log_level.upper())
        with raise_on_signals():
            _start(options)
        return 0
    except UserError as error:
        if {"-d", "--debug"} & set(words):
            traceback.print_exc()
        print(printable(f"edflow: error: {error}"), file=sys.stderr)
        return 2
    except Stopped as stop:
        print(f"edflow: {stop}", file=sys.stderr)
        if not stop.state:  # else all processes have agreed on it
            stop_first(stop.signum)
        return stop.exit_code


def parser() -> argparse.ArgumentParser:
    """The parser of the flags; overrides are separated before."""
    keys = "\n".join(f"  {name:22}{key.help}" for name, key in KEYS.items())
    built = Parser(
        prog="edflow",
        usage="edflow (-b FILE ... | -p RUN) [-t] [-c CKPT] [-n NAME] [-r] [--each FILE ...] [--seeds N] [--jobs N] "
        "[-d] [-l LEVEL] [--KEY VALUE]",
        description="Train a model, resume its training, or evaluate it.",
        epilog=EXAMPLES + keys,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for flags, settings in OPTIONS.items():
        built.add_argument(*flags, **settings)
    return built


def parse(words: list[str]) -> argparse.Namespace:
    """Parse the command line into the values of the flags, and `overrides`, a dict from `Section/key` to YAML text.

    Raises:
        UserError: unknown flags or arguments, flags that do not fit together.
    """
    rest, overrides = split_overrides(words, FLAGS, _value_after)
    options, unknown = parser().parse_known_args(_without_truth(rest))
    if unknown:
        raise UserError(_unexpected(unknown[0]))
    options.overrides = overrides
    if not options.base and options.project is None:
        raise UserError("nothing to do: use -b CONFIG -t to train, or -p RUN to evaluate; see edflow --help")
    if options.retrain and options.project is None and options.checkpoint is None:
        raise UserError("-r takes the weights of a checkpoint; add -p RUN or -c CKPT")
    if options.retrain and not options.train:
        raise UserError("-r is for training; add -t")
    check_series(options)
    return options


def _without_truth(words: list[str]) -> list[str]:
    """The words with `-t true` as `-t` and `-t false` as nothing; so for all flags that are on or off."""
    kept: list[str] = []
    for word in words:
        if word.lower() in ("true", "false") and kept and kept[-1] in SWITCHES:
            kept = kept if word.lower() == "true" else kept[:-1]
        else:
            kept.append(word)
    return kept


def _value_after(key: str, word: str | None) -> str:
    """The word after an override's key; an error if the key looks like a misspelt flag."""
    long_flags = [flag for flag in FLAGS if flag.startswith("--")]
    flag = None if key[2:] in KEYS else nearest(key, long_flags, cutoff=0.8)
    if flag:
        raise UserError(f"{key}: no such flag; did you mean {flag}? (an override of that name: {key}=VALUE)")
    if word is None or word in FLAGS or word.startswith("--"):
        raise UserError(f"{key}: has no value; expected {key} VALUE, or one of the flags in edflow --help")
    return word


def _unexpected(word: str) -> str:
    if not word.startswith("-"):
        return f"{word}: unexpected argument; list config files together after -b, overrides as --Section/key VALUE"
    flag = nearest(word, FLAGS)
    return f"{word}: no such flag" + (f"; did you mean {flag}?" if flag else "; see edflow --help")


def _start(options: argparse.Namespace) -> None:
    options.base = [find_config(file) for file in options.base]
    if options.project is None:  # else the files are parts of the config of a run
        refuse_misspelt(options.base, options.overrides)
    set_up_process()

    from invariances.training.start import start  # imports torch, which takes seconds

    start(
        options.base,
        options.overrides,
        train=options.train,
        project=options.project,
        checkpoint=options.checkpoint,
        name=options.name,
        retrain=options.retrain,
        debug=options.debug,
        allow_other_network=options.allow_other_network,
        allow=options.allow,
    )


if __name__ == "__main__":
    sys.exit(main())
