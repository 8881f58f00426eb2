"""Write the small models that the demo ships with, from runs of the digits' recipe in logs/; needs FashionMNIST.

    python scripts/export_demo_models.py invariances/demo/embedded

The commands that made the runs are in the card, README.md in that folder. Each model is a folder as of `invariances
export`, in half precision; `task.yaml` beside it is the part of the run's config that the demo needs, and
`metrics.json` what the layer keeps, as measured with these very weights.
"""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from invariances.config.nodes import map_checkpoints
from invariances.config.reading import dump, read_file
from invariances.data.loader import Loader
from invariances.data.sets.mnist import mnist
from invariances.demo.loading import load
from invariances.demo.sources import KINDS, TASK, Source, find_sources
from invariances.evaluation.metrics.attributes import Attributes
from invariances.training.exporting import export
from invariances.training.run import Run
from invariances.utils import model_folder

EXPERIMENTS = ("digits_clf", "digits_ae", "digits_cinn_conv1", "digits_cinn_conv3", "digits_cinn_logits")
EXPERIMENTS += ("digits_pairs_clf", "digits_pairs_ae", "digits_diin")
EXPERIMENTS += ("fashion_clf", "fashion_ae", "fashion_cinn_logits")
KEPT = ("experiment_name", "model", "Transformer", "iterator", "GreyboxModel", "AutoencoderModel", "first_stage")
KEPT += ("factor_names", "datasets", "evaluation", "batch_size", "learning_rate", "seed")
EVALUATIONS = ("swaps",)  # names the classifier that judges what the factors do
CLOTHES = ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
NOTES = {"digits": {"network": "coloured digits"}, "fashion": {"network": "clothes", "classes": CLOTHES}}
EXAMPLES = "examples.npz"  # of images that are not on every machine
N_EXAMPLES = 40


def main(folder: Path) -> None:
    """Write one folder for each experiment."""
    for experiment in EXPERIMENTS:
        run = Run.find(f"latest:{experiment}")
        made, config = export(run, folder / experiment), run.config()
        (made / model_folder.CARD).unlink()  # one card describes all of them
        in_half_precision(made)
        if config["iterator"].rpartition(".")[2] in KINDS:
            (made / TASK).write_text(dump(trimmed(config) | {"notes": NOTES[experiment.partition("_")[0]]}))
        print(made)
    add_examples(folder / "fashion_cinn_logits")
    for source in find_sources((), "nowhere", "nowhere"):
        if source.path.parent.samefile(folder) and source.kind == "cinn":
            measure(source)


def add_examples(made: Path) -> None:
    """Put the first test images of FashionMNIST beside a model, in place of the data set."""
    images, labels = mnist("FashionMNIST", "test", 28, None)
    np.savez_compressed(made / EXAMPLES, image=images[:N_EXAMPLES], **{"class": labels["class"][:N_EXAMPLES].numpy()})
    examples = {"class": "invariances.data.ArrayFile", "path": f"{made.name}/{EXAMPLES}", "size": 32}
    config = read_file(made / TASK) | {"datasets": {"validation": examples}}
    (made / TASK).write_text(dump(config))


def measure(source: Source) -> None:
    """Measure what the layer keeps of properties of the examples, for the demo's map."""
    task, data = load(source).task, load(source).data
    metrics = Attributes(n_images=None)(task, Loader(data, 50, seed=0, shuffle=False, n_workers=0), source.path)
    rounded = {name: round(value, 3) for name, value in metrics.items()}
    facts = {"time": datetime.now(timezone.utc).isoformat(), **task.facts(), "metrics": rounded}
    (source.path / "metrics.json").write_text(json.dumps(facts, indent=0) + "\n")


def in_half_precision(made: Path) -> None:
    """Round the weights; the networks that a model was trained with are no longer those, so they are left out."""
    weights = model_folder.read_weights(made / model_folder.WEIGHTS)
    halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    model_folder.write_weights(made / model_folder.WEIGHTS, halves)
    model_folder.write_facts(made, model_folder.Facts(model_folder.read_facts(made).config))


def trimmed(config: dict[str, Any]) -> dict[str, Any]:
    """What builds the task, with the names of the folders here for the runs' checkpoints."""
    kept = {name: config[name] for name in KEPT if name in config}
    kept["evaluation"] = {name: spec for name, spec in (kept.get("evaluation") or {}).items() if name in EVALUATIONS}
    return {name: map_checkpoints(value, name, folder_name) for name, value in kept.items()}


def folder_name(checkpoint: str, key: str) -> str:
    """`logs/<time>_digits_ae/train/checkpoints/model-1500.ckpt` -> `digits_ae`."""
    return str(Run.open(Path(checkpoint).parents[2]).experiment)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
