"""Write the model of a run to a folder that anyone can load: weights as safetensors, config.json, and a model card.

Such a folder is loaded by its path wherever a checkpoint is expected, and by `zoo.load` of `invariances.zoo`; pushed to
the Hugging Face hub, as hub:USER/NAME. The card has what the run knows; add a licence before you publish it.
"""

import argparse
from pathlib import Path

HELP = "write the model of a run to a folder, or to the Hugging Face hub"
EXAMPLES = """\
  invariances export latest:digits_ae --to my_autoencoder
  invariances export logs/2026-11-25T10-00-00_digits_ae --push me/digits-autoencoder
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, the folder and the hub."""
    parser.add_argument("run_", metavar="RUN", help="a run folder, or latest:EXPERIMENT; its last checkpoint is taken")
    parser.add_argument("--to", type=Path, metavar="DIR", help="output folder (default: export in the run folder)")
    parser.add_argument("--push", metavar="USER/NAME", help="upload the folder to the Hugging Face hub too")


def run(options: argparse.Namespace) -> None:
    """Write the folder and print its path, and its address on the hub."""
    from invariances.training.exporting import export  # imports torch, which --help does not need
    from invariances.training.run import Run
    from invariances.zoo import hub

    folder = export(Run.find(options.run_), options.to)
    print(folder)
    if options.push is not None:
        print(hub.push(folder, options.push))
