from invariances.studies.recipes import Recipe
from invariances.studies.steps import seconds_taken

RECIPE = Recipe("conv1", {"seed": 0}, "A flow")


def written(study, *lines):
    RECIPE.log(study).parent.mkdir(parents=True, exist_ok=True)
    RECIPE.log(study).write_text("\n".join(lines) + "\n")


def test_the_time_of_a_training_is_the_sum_over_its_own_starts(tmp_path):
    assert seconds_taken(RECIPE, tmp_path) is None
    own, other = str(RECIPE.folder(tmp_path)), "runs/conv1-abcdef"  # of another config
    written(tmp_path, own)
    assert seconds_taken(RECIPE, tmp_path) is None
    written(tmp_path, other, "ended with exit code 0 after 99 s", own, "50%", "ended with exit code 143 after 20 s",
            own, "ended with exit code 0 after 26 s")  # fmt: skip
    assert seconds_taken(RECIPE, tmp_path) == 46
