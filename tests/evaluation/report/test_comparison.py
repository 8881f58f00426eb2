"""Two networks on one page: which layers stand side by side, and what is refused."""

import numpy as np
import pytest

from invariances.cli import invariances as command
from invariances.errors import UserError
from invariances.evaluation.report.comparison import write_comparison
from invariances.evaluation.report.comparison.side_by_side import matched
from tests.evaluation.report.test_page import evaluation


def runs(home, *layers):
    """Evaluated runs, one for each layer, as groups."""
    for layer in layers:
        evaluation(home / layer, "first", layer=layer)
    return [[home / layer] for layer in layers]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("abc", "xyz", "ax by cz"),
        ("ac", "wxyz", "aw cz"),
        ("abcde", "xyz", "ax cy ez"),
        ("a", "xyz", "ax"),
    ],
)
def test_layers_are_matched_by_their_relative_depth(left, right, expected):
    assert ["".join(pair) for pair in matched([*left], [*right])] == expected.split()


def test_both_stand_on_one_page_with_their_numbers(tmp_path):
    left, right = runs(tmp_path / "a", "conv1", "conv2"), runs(tmp_path / "b", "stem", "head")
    page = write_comparison(("mine", left), ("resnet", right), tmp_path / "out")
    text = page.read_text()
    assert "<h1>mine and resnet</h1>" in text
    assert text.index("conv1 | stem") < text.index("conv2 | head")
    assert "<td>cosine</td><td>0.100</td><td>0.100</td>" in text
    assert text.count("data:image/png;base64,") == 4
    write_comparison(("mine", left[:1]), ("resnet", right[:1]), tmp_path / "out")
    assert {path.name for path in page.parent.iterdir()} == {"report.html", "layer-0-a1.png", "layer-0-b1.png"}


def test_other_images_are_refused(tmp_path):
    left, right = runs(tmp_path / "a", "conv1"), runs(tmp_path / "b", "stem")
    np.savez_compressed(tmp_path / "b/stem/eval/first/grid.npz", input=np.ones((2, 3, 4, 4), np.uint8))
    with pytest.raises(UserError, match="mine, resnet: their pictures are of other images; compare runs with the same"):
        write_comparison(("mine", left), ("resnet", right), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [[], ["a", "--compare", "b", "c"]])
def test_either_runs_or_two_networks(capsys, words):
    assert command.main(["report", *words]) == 2
    assert capsys.readouterr().err == (
        "invariances: error: name the runs of one network, or two networks with --compare\n"
    )
