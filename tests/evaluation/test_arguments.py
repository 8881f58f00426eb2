"""What evaluations are given has to make sense before anything is measured."""

import pytest

from invariances.evaluation import FID, FactorSizes, Faithfulness, Grid, Interpolations, Response, Swaps, Walks


@pytest.mark.parametrize(
    ("evaluation", "name", "value", "least"),
    [
        (FID, "batch_size", 0, 1),
        (FID, "n_samples", 1, 2),
        (Faithfulness, "n_images", -5, 2),
        (Faithfulness, "n_images", 0, 2),
        (Faithfulness, "n_samples", 1, 2),
        (Faithfulness, "batch_size", 0, 1),
        (Grid, "n_images", 0, 1),
        (Grid, "n_samples", -1, 0),
        (Interpolations, "n_steps", 1, 2),
        (Response, "n_images", -1, 1),
        (Response, "n_draws", 0, 1),
        (Swaps, "n_images", 0, 1),
        (Swaps, "n_pairs", -3, 2),
        (Swaps, "batch_size", 0, 1),
        (Walks, "n_steps", 0, 1),
    ],
)
def test_numbers_that_are_too_small(evaluation, name, value, least):
    with pytest.raises(ValueError, match=f"^{name} is {value}; expected {least} or more$"):
        evaluation(**{name: value})
    evaluation(**{name: least})


@pytest.mark.parametrize("size", [0.0, -1.0, 1.1])
def test_step_sizes_out_of_range(size):
    with pytest.raises(ValueError, match="step_size"):
        Walks(step_size=size)


@pytest.mark.parametrize("names", [[], ["digit", "digit"], ["residual"]])
def test_factors_have_names_of_their_own(names):
    with pytest.raises(ValueError, match="expected one name or more, all different, without residual"):
        FactorSizes(names)
