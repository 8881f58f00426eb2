"""`edexplore`: browse a data set in the browser."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import invariances.demo
from invariances.cli.command_line import Parser, split_overrides
from invariances.cli.serving import port, serve
from invariances.config.allowing import (
    allowed_names,
    folders_typed,
    judging,
    modules_here,
    modules_typed,
    remember,
)
from invariances.config.building import class_and_arguments, foreign_root
from invariances.config.checking import dataset_mistakes
from invariances.config.classes import locate
from invariances.config.older.translating import translate
from invariances.config.reading import merged, parse, read
from invariances.config.signatures import parameters
from invariances.errors import UserError
from invariances.utils.shipped_configs import find_config

EXAMPLES = """examples:
  edexplore --dataset invariances.data.MNISTTrain
  edexplore --dataset invariances.data.Folder --folder my_pictures --size 64
  edexplore -b configs/digits/clf.yaml
  edexplore -b configs/digits/clf.yaml --datasets/train/size 64

With --dataset, --NAME VALUE is an argument of the data set; with -b, --Section/key VALUE replaces a value of
the config. VALUE is YAML.
"""
SPLITS = {"Train": "train", "Validation": "validation", "Test": "test"}
PAGE = Path(invariances.demo.__file__).parent / "data_browser.py"


def main(arguments: list[str] | None = None) -> int:
    """Replace this process by the server of the page; returns 2 for a mistake of the user."""
    try:
        options, words = parser().parse_known_args(arguments)
        options.base = [find_config(file) for file in options.base or ()]
        changes = overrides(words)
        allow_own(options, changes)
        with judging(*options.base):
            splits = read_splits(options, changes)
            for split, spec in splits.items():
                check(split, spec)
        serve(PAGE, [json.dumps(splits), *allowed_names()], options.port)
    except UserError as error:
        print(f"edexplore: error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of the flags, without overrides."""
    built = Parser(
        prog="edexplore",
        usage="edexplore (--dataset CLASS | -b FILE ...) [--allow NAME] [--port PORT] [--NAME VALUE]",
        description="Browse a data set in the browser: examples, labels, ranges, a grid, a histogram.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    source = built.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", metavar="CLASS", help="dotted class of a data set")
    source.add_argument("-b", "--base", nargs="+", metavar="FILE", help="configs that name data sets")
    built.add_argument(
        "--allow", action="append", default=[], metavar="NAME", help="package whose classes configs may call"
    )
    built.add_argument("--port", type=port, help="of the page (default: the first free one from 8501)")
    return built


def allow_own(options: argparse.Namespace, changes: dict[str, str]) -> None:
    """Allow what the command line names, and what its configs name in the working folder."""
    typed = {"class": options.dataset} if options.dataset else merged([], changes)
    here = modules_here(merged(options.base))
    remember({*options.allow, *modules_typed(typed), *here}, folders_typed(changes))


def overrides(words: list[str]) -> dict[str, str]:
    """Parse `--key value` and `--key=value` to key -> value.

    Raises:
        UserError: a stray word, or a key without a value.
    """
    stray, found = split_overrides(words, (), _value_after)
    if stray:
        raise UserError(f"{stray[0]}: stray word; see edexplore --help")
    return found


def _value_after(key: str, word: str | None) -> str:
    if word is None or word.startswith("--"):
        raise UserError(f"{key}: has no value; use {key} VALUE")
    return word


def read_splits(options: argparse.Namespace, changes: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Read the data sets to show: split -> {"class": dotted path, argument: value}.

    Raises:
        UserError: a config that cannot be read or names none; a class that cannot be found.
    """
    if options.dataset:
        arguments = {name: parse(text, f"--{name}") for name, text in changes.items()}
        config = translate({"datasets": {"examples": {"class": options.dataset, **arguments}}})
        return with_siblings(*class_and_arguments(config["datasets"]["examples"]))
    datasets = read(options.base, changes).get("datasets")
    if not isinstance(datasets, dict) or not datasets:
        files = " ".join(map(str, options.base))
        raise UserError(f"{files}: no data sets; expected `datasets: {{train: dotted.Class}}`")
    parts = {split: class_and_arguments(spec) for split, spec in datasets.items()}
    return {split: {"class": path, **arguments} for split, (path, arguments) in parts.items()}


def with_siblings(path: str, arguments: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A data set, then its other splits: ATrain, ATest and AValidation are splits of the same data.

    The other splits get those of the arguments that their constructors have.
    """
    own = locate(path, "--dataset")
    suffix = next((suffix for suffix in SPLITS if path.endswith(suffix)), "")
    splits = {SPLITS.get(suffix, "examples"): {"class": path, **arguments}}
    for other, split in SPLITS.items() if suffix else ():
        cls = getattr(sys.modules[own.__module__], own.__name__.removesuffix(suffix) + other, own)
        if cls is not own:
            taken = {name: value for name, value in arguments.items() if name in parameters(cls)[0]}
            splits[split] = {"class": path.removesuffix(suffix) + other, **taken}
    return splits


def check(split: str, spec: dict[str, Any]) -> None:
    """Check the arguments of a data set against its constructor.

    Raises:
        UserError: lists all mistakes.
    """
    found = [*dataset_mistakes(spec, split), *foreign_root(spec, split)]
    if found:
        raise UserError("; ".join(found))


if __name__ == "__main__":
    sys.exit(main())
