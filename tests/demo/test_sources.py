import shutil

import pytest
import torch
import yaml

from invariances.demo import released_models
from invariances.demo.loading import load
from invariances.demo.sources import EMBEDDED, TASK, find_sources
from invariances.errors import UserError
from invariances.utils import checkpoints


@pytest.fixture(autouse=True)
def empty_caches():
    yield
    find_sources.clear()


def sources(kind="cinn", network="coloured digits (built in)", **where):
    return {
        source.layer: source for source in find_sources(**where) if (source.kind, source.network) == (kind, network)
    }


def task_of(name):
    return yaml.safe_load((EMBEDDED / name / TASK).read_text())


def write_run(root, name, config):
    (root / name / "configs").mkdir(parents=True)
    (root / name / "configs" / "2026-01-01T00-00-00-train.yaml").write_text(yaml.safe_dump(config))
    (root / name / "train" / "checkpoints").mkdir(parents=True)
    return root / name


@pytest.fixture
def run(tmp_path):
    """A run of a cINN: its networks are those that the package ships with."""
    config = task_of("digits_cinn_logits")
    config["GreyboxModel"]["checkpoint"] = str(EMBEDDED / "digits_clf")
    config["AutoencoderModel"]["checkpoint"] = str(EMBEDDED / "digits_ae")
    folder = write_run(tmp_path, "2026-01-01T00-00-00_mine", config)
    torch.save(checkpoints.load(EMBEDDED / "digits_cinn_logits"), folder / "train/checkpoints/model-7.ckpt")
    return folder


def test_the_package_ships_with_models_of_three_layers_and_of_factors(tmp_path):
    assert sorted(sources(root=str(tmp_path))) == ["conv1", "conv3", "logits"]
    assert sorted(sources("factors", root=str(tmp_path))) == ["digits_diin"]
    assert sorted(sources(network="clothes (built in)", root=str(tmp_path))) == ["logits"]
    assert (
        sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) <= 8e6
        and (EMBEDDED / "README.md").exists()
    )


def test_runs_are_found_beside_them(run, tmp_path):
    write_run(tmp_path, "2026-01-02T00-00-00_untrained", task_of("digits_diin"))
    write_run(tmp_path, "2026-01-03T00-00-00_other", {"iterator": "invariances.iterators.ClassifierIterator"})
    (tmp_path / "2026-01-03T00-00-00_other/configs/2026-01-01T00-00-00-train.yaml").write_text("a: [")
    mine = [source for source in find_sources(root=str(tmp_path)) if source.path.parent == tmp_path]
    assert [(source.name, source.layer, source.kind) for source in mine] == [(run.name, "logits", "cinn")]


def test_a_run_shows_what_the_same_model_of_the_package_shows(run):
    (mine,) = find_sources((str(run),))
    built_in = sources(root=str(run / "nowhere"))["logits"]
    models = load(mine), load(built_in)
    images = [model.example(3) for model in models]
    assert models[0].shape == (3, 32) and models[0].n_examples == 297 and torch.equal(*images)
    views = [dict(model.task.views(images[0], 4, torch.Generator().manual_seed(1))) for model in models]
    assert all(torch.equal(views[0][label], views[1][label]) for label in views[0])


def test_a_model_is_loaded_once(run):
    (mine,) = find_sources((str(run),))
    assert load(mine) is load(mine)


def test_given_runs_are_shown_alone(run, tmp_path):
    with pytest.raises(UserError, match="no such run"):
        find_sources((str(tmp_path / "nowhere"),))
    shutil.rmtree(run / "train")
    with pytest.raises(UserError, match="has no conditional or disentangling INN with a checkpoint; leave it out"):
        find_sources((str(run),))


def test_a_data_set_that_is_not_here_leaves_photographs_and_uploads(run):
    path = next((run / "configs").iterdir())
    config = yaml.safe_load(path.read_text())
    config["datasets"]["validation"] = {"class": "invariances.data.Folder", "folder": "/nowhere"}
    path.write_text(yaml.safe_dump(config))
    model = load(find_sources((str(run),))[0])
    assert model.n_examples == 2 and model.shape == (3, 32) and "nowhere" in model.problem
    assert model.example(1).shape == (1, 3, 32, 32) and not torch.equal(model.example(0), model.example(1))


def test_the_layers_of_a_study_are_found_also_if_it_was_moved(run, tmp_path):
    study = tmp_path / "studies" / "Net_photos"
    study.mkdir(parents=True)
    (study / "runs").mkdir()
    run.rename(study / "runs" / "logits-e0")
    plan = {"runs": {"autoencoder": "elsewhere/runs/autoencoder-a0", "logits": "elsewhere/runs/logits-e0"}}
    (study / "study.yaml").write_text(yaml.safe_dump(plan))
    (tmp_path / "studies" / "broken").mkdir()
    (tmp_path / "studies" / "broken" / "study.yaml").write_text("runs: [")
    found = sources(network="Net_photos (study)", root=str(tmp_path / "logs"), studies=str(tmp_path / "studies"))[
        "logits"
    ]
    assert found.path == study / "runs" / "logits-e0"
    assert find_sources((str(study),)) == [found]
    with pytest.raises(UserError, match="has no conditional or disentangling INN with a checkpoint; leave it out"):
        find_sources((str(tmp_path / "studies" / "broken"),))


@pytest.mark.parametrize("flow", ["cinn_alexnet_aae_conv5", "cinn_resnet_animalfaces10_ae_layer4"])
def test_released_flows_name_all_that_they_need(flow, tmp_path, monkeypatch):
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path))
    config = released_models.config(flow)
    names = released_models.missing(flow)
    assert names[0] == flow and any(name.startswith("bigae") for name in names)
    assert config["GreyboxModel"]["layer"] and config["Transformer"]["conditioning_in_channels"]
