"""Write the small models that the demo ships with, from runs of the digits' recipe in logs/.

    python scripts/export_demo_models.py invariances/demo/embedded

The commands that made the runs are in the card, README.md in that folder.
"""

import sys
from pathlib import Path
from typing import Any

from invariances.config.nodes import map_checkpoints
from invariances.training.run import Run, resolve_checkpoint
from invariances.utils import checkpoints, exported

EXPERIMENTS = ("digits_clf", "digits_ae", "digits_cinn_conv1", "digits_cinn_conv3", "digits_cinn_logits")
EXPERIMENTS += ("digits_pairs_clf", "digits_pairs_ae", "digits_diin")
KEPT = ("experiment_name", "model", "Model", "Transformer", "iterator", "GreyboxModel", "AutoencoderModel")
KEPT += ("first_stage", "factor_names", "datasets", "evaluation", "batch_size", "learning_rate", "seed")
EVALUATIONS = ("swaps",)  # names the classifier that judges what the factors do


def main(folder: Path) -> None:
    """Write one file for each experiment."""
    for experiment in EXPERIMENTS:
        path = resolve_checkpoint(f"latest:{experiment}")
        weights = checkpoints.weights_of(checkpoints.load(path))
        kept = {name: value for name, value in weights.items() if name == "step" or name.startswith("model.")}
        exported.save(kept, trimmed(Run.find(f"latest:{experiment}").config()), folder / f"{experiment}.safetensors")
        print(folder / f"{experiment}.safetensors")


def trimmed(config: dict[str, Any]) -> dict[str, Any]:
    """What builds the networks, with the names of the files here for the runs' checkpoints."""
    kept = {name: config[name] for name in KEPT if name in config}
    kept["evaluation"] = {name: spec for name, spec in (kept.get("evaluation") or {}).items() if name in EVALUATIONS}
    return {name: map_checkpoints(value, name, file_name) for name, value in kept.items()}


def file_name(checkpoint: str, key: str) -> str:
    """`logs/<time>_digits_ae/train/checkpoints/model-1500.ckpt` -> `digits_ae.safetensors`."""
    return f"{Run.open(Path(checkpoint).parents[2]).experiment}.safetensors"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
