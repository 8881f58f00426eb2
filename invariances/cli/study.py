"""Study one's own network on one's own images: what does each layer keep, and what does it drop?

Plans first: how images are split, at which layers, and what it takes. Then trains an autoencoder and a conditional flow
for each layer, checks and evaluates them, and writes studies/NAME/report/report.html. Stopped or killed, the same
command goes on where it was. Every training is a plain config in studies/NAME, which `edflow -b` accepts too.
"""

import argparse
from typing import TYPE_CHECKING

from invariances.errors import UserError
from invariances.studies.quality import SIDES
from invariances.utils.process_settings import set_up_process

if TYPE_CHECKING:
    from invariances.studies.request import Request

HELP = "study one's own network on one's own images, from a plan to a report"
SIZES = ", ".join(map(str, SIDES))
EXAMPLES = """\
  invariances study my_models:Net --weights net.pt --data invariances.data.FashionMNISTTrain
  invariances study torchvision:resnet18 --weights IMAGENET1K_V1 --data my_pictures --dry-run
  invariances study timm:tf_efficientnet_lite0 --weights lite0.pth --data my_classes --budget 30m
  invariances study logs/latest/train/checkpoints/model-600.ckpt --data my_pictures --layers conv2,logits
  invariances study "{class: my_models.Net, width: 32}" --weights net.pt --data my_pictures --seeds 3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add MODEL, the images and all choices that can be made by hand."""
    parser.add_argument(
        "model", metavar="MODEL", help="module:Class of yours, torchvision:NAME, timm:NAME, or a checkpoint"
    )
    parser.add_argument(
        "--data", required=True, metavar="DATA", help="folder of pictures or of class folders, or a dotted data set"
    )
    parser.add_argument("--weights", metavar="FILE", help="file of a state dict, or name of a library's weights")
    parser.add_argument(
        "--preprocess", metavar="YAML", help='what the network expects, such as "{mean: .13, std: .31}" for [0, 1]'
    )
    parser.add_argument("--layers", default="auto", metavar="A,B,C", help="layers to study (default: auto)")
    parser.add_argument("--n_layers", type=int, default=5, metavar="N", help="how many layers auto takes (default: 5)")
    parser.add_argument("--size", type=int, metavar="N", help=f"side of the images: {SIZES} px (default: chosen)")
    parser.add_argument(
        "--autoencoder", metavar="CKPT", help="latest:X, a path or zoo:NAME (default: one is trained)"
    )
    parser.add_argument("--budget", metavar="TIME", help="such as 15m or 2h: how long it may take")
    parser.add_argument("--quality", metavar="LEVEL", help="draft (default), good or best, in place of a budget")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings of each flow, for their spread")
    parser.add_argument("--jobs", type=int, metavar="N", help="trainings at a time (default: one for each processor)")
    parser.add_argument("--name", metavar="NAME", help="of the study (default: by network and data)")
    parser.add_argument("--dry-run", action="store_true", help="show the plan, and train nothing")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME", help="package whose classes may be called"
    )


def run(options: argparse.Namespace) -> None:
    """Show the plan; then train, evaluate and report."""
    set_up_process()  # for the steps that the plan measures
    from invariances.config.allowing import remember
    from invariances.studies.request import Request, seconds

    remember(options.allow)
    layers = None if options.layers == "auto" else tuple(name.strip() for name in options.layers.split(",") if name)
    if layers is not None and not layers:
        raise UserError("--layers: names no layer; expected names such as conv1,logits, or auto")
    request = Request(
        model=options.model,
        data=options.data,
        weights=options.weights,
        preprocess=options.preprocess,
        layers=layers,
        n_layers=options.n_layers,
        size=options.size,
        autoencoder=options.autoencoder,
        quality=options.quality,
        budget=None if options.budget is None else seconds(options.budget),
        name=options.name,
        n_seeds=options.seeds,
        n_jobs=options.jobs,
    )
    _run(request, options.dry_run)


def _run(request: "Request", dry_run: bool) -> None:
    from invariances.studies.planning import described, plan_study, require_space  # imports torch, unlike --help

    plan = plan_study(request, keep=not dry_run)
    print("\n".join(described(plan)), flush=True)
    if dry_run:
        require_space(plan)
        return
    from invariances.studies.execution import run_study

    done = run_study(plan, say=lambda line: print(line, flush=True))
    for found in done.findings:
        print(f"{found.sign:9} {found.about}{': ' if found.about else ''}{found.text}")
    print(done.page)
