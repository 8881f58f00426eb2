"""`invariances.study`: a study in Python, for scripts and notebooks."""

import base64
import html
import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from invariances.config.building import build_iterator
from invariances.errors import InvalidInput, UserError
from invariances.studies.execution import Say, in_processes, in_this_process, run_study
from invariances.studies.findings import Finding
from invariances.studies.inputs.in_memory import keep_network, save_images, save_weights
from invariances.studies.planning import Plan, described, plan_study
from invariances.studies.request import STUDIES, Request, file_name, seconds
from invariances.studies.steps import is_done, results
from invariances.training.run import Run
from invariances.utils import checkpoints
from invariances.utils.names import hint

Images = str | Path | Tensor | np.ndarray | tuple[Any, Any]
NUMBERS = ("class_agreement", "cosine", "diversity", "residual_variance", "half_v_squared")  # shown first


class Study:
    """A finished study.

    Attributes:
        plan: all its choices.
        findings: what the checks say.
        page: the report.
    """

    def __init__(self, plan: Plan, findings: Sequence[Finding], page: Path) -> None:
        self.plan, self.findings, self.page = plan, tuple(findings), page
        self._task = lru_cache(maxsize=len(plan.layers))(self._load)

    @property
    def layers(self) -> list[str]:
        """Names of the layers that are trained, from input to output."""
        return [layer.name for layer in self.plan.layers if is_done(self._recipe(layer.name), self.plan.folder)]

    def samples(self, layer: str, image: Tensor, n: int = 8, seed: int = 0) -> Float[Tensor, "n channels height width"]:
        """Images drawn at random given a layer's response to an image, in [-1, 1].

        Args:
            layer: name.
            image: (C, H, W) or (1, C, H, W) in [-1, 1], of the study's size.
            n: number of samples.
            seed: of the samples.

        Raises:
            InvalidInput: no such layer, or an image of another shape.
        """
        if layer not in self.layers:
            raise InvalidInput(f"layer {layer!r} is not in this study{hint(layer, self.layers)}")
        image = image[None] if image.ndim == 3 else image
        task = self._task(layer)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            z = task.greybox.network.encode(image.to(task.device))
            codes = task.model.sample(z, n, generator)
            return task.autoencoder.network.decode(codes[0]).cpu()

    @property
    def records(self) -> list[dict[str, Any]]:
        """A dict for each layer: its name, the shape of its representation, and all numbers."""
        shapes = {layer.name: list(layer.shape) for layer in self.plan.layers}
        found = [results(self._recipe(name), self.plan.folder)["metrics"] for name in self.layers]
        return [
            {"layer": name, "shape": shapes[name], **metrics} for name, metrics in zip(self.layers, found, strict=True)
        ]

    @property
    def table(self) -> Any:
        """A pandas frame with a row for each layer; the same as dicts where pandas is missing."""
        if importlib.util.find_spec("pandas") is None:
            return self.records
        import pandas

        return pandas.DataFrame(self.records).set_index("layer")

    def report(self) -> Path:
        """The page; its figures lie beside it."""
        return self.page

    def __repr__(self) -> str:
        return f"Study({str(self.plan.folder)!r}, layers={self.layers})"

    def _repr_html_(self) -> str:
        """The map of layers and attributes, the checks, and the most telling numbers."""
        figure = self.page.parent / "attributes.png"
        data = base64.b64encode(figure.read_bytes()).decode() if figure.exists() else ""
        picture = f'<img src="data:image/png;base64,{data}" style="max-width:100%">' if data else ""
        notes = "".join(
            f"<li>{html.escape(f'{finding.about}: ' * bool(finding.about) + finding.text)}</li>"
            for finding in self.findings
            if finding.level != "good"
        )
        head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in ("layer", *NUMBERS))
        rows = "".join(f"<tr><td>{html.escape(row['layer'])}</td>{_cells(row)}</tr>" for row in self.records)
        page = html.escape(str(self.page))
        return f"{picture}<table><tr>{head}</tr>{rows}</table><ul>{notes}</ul><p><code>{page}</code></p>"

    def _recipe(self, layer: str) -> Any:
        places = [known.name for known in self.plan.layers]
        return self.plan.flows[places.index(layer)]

    def _load(self, layer: str) -> Any:
        """The training task of a layer with its networks."""
        run = Run.open(self._recipe(layer).folder(self.plan.folder))
        task = build_iterator(run.config(), num_steps=1)
        checkpoints.restore(task, run.last_checkpoint())
        return task.eval()


def _cells(row: Mapping[str, Any]) -> str:
    values = (row.get(name) for name in NUMBERS)
    return "".join(f"<td>{'' if value is None else f'{value:.3f}'}</td>" for value in values)


def study(
    model: nn.Module | str,
    images: Images,
    layers: Sequence[str] | None = None,
    *,
    weights: str | Path | None = None,
    preprocess: Mapping[str, Any] | None = None,
    n_layers: int = 5,
    size: int | None = None,
    autoencoder: str | None = None,
    quality: str | None = None,
    budget: str | None = None,
    seeds: int = 1,
    name: str | None = None,
    say: Say = print,
) -> Study:
    """Study a network on images: what does each layer keep, and what does it drop?

    Args:
        model: a module, which is not changed, or as in `invariances study`: "torchvision:resnet18", "my_models:Net" …
        images: a folder, a dotted data set, or images in [-1, 1], (N, C, H, W), alone or with their classes: (images,
            labels).
        layers: names; by default `n_layers` are chosen.
        weights: a file, or a name of a library's weights, of a model given by name.
        preprocess: what the network expects, settings of `invariances.models.Preprocess`; by default found out.
        size, autoencoder, quality, budget, seeds, name: see `invariances study --help`.
        say: is given lines about plan and progress.

    Returns:
        the study; the same call again goes on with it, or finds it done.

    Raises:
        UserError: what cannot be studied, with the reason.
    """
    in_memory = isinstance(model, nn.Module)
    title = name or _title(model, images)
    folder = STUDIES / file_name(title)
    try:
        data = str(images) if isinstance(images, str | Path) else save_images(*_with_labels(images), folder)
    except InvalidInput as error:
        raise UserError(str(error)) from error
    if isinstance(model, nn.Module):
        if weights is not None:
            raise UserError("weights are those of the module; leave them out, or name its class as text")
        keep_network(folder.name, model)
        save_weights(folder.name, folder / "network.pt")
        model = json.dumps({"class": "invariances.studies.inputs.in_memory.GivenNetwork", "name": folder.name})
        weights = folder / "network.pt"
    request = Request(
        model=model,
        data=data,
        weights=None if weights is None else str(weights),
        preprocess=None if preprocess is None else json.dumps(dict(preprocess)),
        layers=None if layers is None else tuple(layers),
        n_layers=n_layers,
        size=size,
        autoencoder=autoencoder,
        quality=quality,
        budget=None if budget is None else seconds(budget),
        name=title,
        n_seeds=seeds,
        n_jobs=1 if in_memory else None,
    )
    plan = plan_study(request)
    for line in described(plan):
        say(line)
    done = run_study(plan, in_this_process if in_memory else in_processes, say)
    return Study(done.plan, done.findings, done.page)


def _title(model: nn.Module | str, images: Images) -> str:
    network = type(model).__name__ if isinstance(model, nn.Module) else model
    data = str(images) if isinstance(images, str | Path) else "images"
    return Request(network, data).folder.name


def _with_labels(images: Any) -> tuple[Any, Any]:
    return images if isinstance(images, tuple) else (images, None)
