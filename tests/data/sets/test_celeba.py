import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from invariances import data
from invariances.data.archives import MissingFiles
from invariances.data.sets import celeba
from invariances.data.sets.celeba import FactorPairs, read_attributes, read_partition
from tests.data.stand_ins import ATTRIBUTES, celeba_signs, write_celeba

KINDS = [data.CelebATrain, data.CelebAValidation, data.CelebATest, data.FactorCelebATrain, data.FactorCelebATest]
TRAIN = [i for i in range(24) if i % 6 < 4]
VALIDATION = [i for i in range(24) if i % 6 == 4]
TEST = [i for i in range(24) if i % 6 == 5]


def test_splits_labels_and_values(tmp_path):
    write_celeba(tmp_path)
    kinds = (data.CelebATrain, TRAIN), (data.CelebAValidation, VALIDATION), (data.CelebATest, TEST)
    for kind, expected in kinds:
        faces = kind(root=str(tmp_path))
        assert len(faces) == len(expected)
        labels = torch.stack([faces.labels[name] for name in ATTRIBUTES], dim=1)
        assert labels.tolist() == celeba_signs(24)[expected].tolist()
        image = faces.__getitems__(range(len(expected)))["image"]
        assert image.shape == (len(expected), 3, 64, 64) and image.dtype == torch.float32
        level = (image.mean((1, 2, 3)) + 1) * 128 - 0.5
        assert (level - 10 * torch.tensor(expected)).abs().max() < 1  # the white margin is cut off
    assert set(faces[0]) == {"image", *ATTRIBUTES}


def test_the_test_set_is_at_most_ten_thousand_always_the_same(tmp_path, monkeypatch):
    write_celeba(tmp_path)
    monkeypatch.setattr(celeba, "_N_TEST", 2)
    first, second = (data.CelebATest(root=str(tmp_path)).files for _ in range(2))
    assert len(first) == 2 and first == second == sorted(first)


def test_the_zip_archive_is_unpacked(tmp_path):
    home = write_celeba(tmp_path)
    with zipfile.ZipFile(home / "img_align_celeba.zip", "w") as archive:
        for path in sorted((home / "img_align_celeba").iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")
            path.unlink()
    (home / "img_align_celeba").rmdir()
    assert len(data.CelebATrain(root=str(tmp_path))) == len(TRAIN)


@pytest.mark.parametrize("missing", ["list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"])
@pytest.mark.parametrize("kind", KINDS)
def test_missing_files_are_named_with_where_they_go(tmp_path, missing, kind):
    home = write_celeba(tmp_path)
    (home / missing).rename(home / "elsewhere")
    with pytest.raises(MissingFiles) as error:
        kind(root=str(tmp_path))
    assert str(home / missing) in str(error.value) and "INVARIANCES_DATA" in str(error.value)


@pytest.mark.parametrize("value", ["0", "None", "nan", "", "1\n000099.jpg 1 1 1 1 1"])
def test_attributes_that_are_no_signs_are_refused(tmp_path, value):
    path = write_celeba(tmp_path, images=False) / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace(" 1\n", f" {value}\n", 1))
    with pytest.raises(ValueError, match=r"expected 24 rows of 5 values -1 or 1"):
        read_attributes(path)


def test_a_folder_in_the_archives_place_leaves_nothing(tmp_path):
    home = write_celeba(tmp_path, images=False)
    (home / "img_align_celeba.zip").mkdir()
    with pytest.raises(MissingFiles, match=r"nor the archive file .*img_align_celeba\.zip is there"):
        data.CelebATrain(root=str(tmp_path))
    assert not (home / "img_align_celeba").exists()


def test_blank_lines_do_not_count(tmp_path):
    home = write_celeba(tmp_path)
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (home / name).write_text((home / name).read_text() + "\n  \n")
    assert len(data.CelebATrain(root=str(tmp_path))) == len(TRAIN)


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt"])
def test_C15_each_picture_has_one_row_in_both_lists(tmp_path, name):
    path = write_celeba(tmp_path) / name
    whole = path.read_text()
    row = next(line for line in whole.splitlines() if line.startswith("000007.jpg"))
    path.write_text(whole.replace(f"{row}\n", "").replace("24\n", "23\n"))
    with pytest.raises(ValueError, match=rf"{path}: 1 pictures of list_\w+.txt have no row, first 000007.jpg"):
        data.CelebATrain(root=str(tmp_path))
    path.write_text(whole.replace("24\n", "25\n") + f"{row}\n")
    with pytest.raises(ValueError, match=f"{path}: 000007.jpg has two rows or more; expected one"):
        data.CelebATrain(root=str(tmp_path))
    path.write_bytes(b"\xef\xbb\xbf" + whole.encode())  # a byte-order mark
    assert len(data.CelebATrain(root=str(tmp_path))) == len(TRAIN)


@pytest.mark.parametrize("row", ["000001.jpg,0", "image_id partition", "000001.jpg 3", "000001.jpg"])
def test_a_partition_of_another_form_is_refused(tmp_path, row):
    path = tmp_path / "list_eval_partition.txt"
    path.write_text(f"000000.jpg 0\n{row}\n")
    with pytest.raises(ValueError, match=f"{path}: expected rows of a file name and 0, 1 or 2, got '{row}'"):
        read_partition(path)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        ("", "got '', then 0 names"),
        ("image_id,Male,Young\n000001.jpg,1,-1\n", "got 'image_id,Male,Young', then 1 names"),
        ("1\n\n000001.jpg 1 1\n", "got '1', then 0 names"),
        ("1\nMale Male\n000001.jpg 1 1\n", "got '1', then 2 names"),
    ],
)
def test_attributes_without_their_head_are_refused(tmp_path, head, found):
    path = tmp_path / "list_attr_celeba.txt"
    path.write_text(head)
    expected = f"{path}: expected the number of rows, then a line of attributes' names"
    with pytest.raises(ValueError, match=f"{expected}.*{found}"):
        read_attributes(path)


def test_attributes_with_a_value_too_many_are_refused(tmp_path):
    path = write_celeba(tmp_path, images=False) / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace(" Young", ""))
    with pytest.raises(ValueError, match="expected 24 rows of 4 values -1 or 1; got 24 rows of 5 values"):
        read_attributes(path)


def test_a_split_without_a_picture_is_told(tmp_path):
    path = write_celeba(tmp_path) / "list_eval_partition.txt"
    path.write_text(path.read_text().replace(" 2\n", " 1\n"))
    with pytest.raises(MissingFiles, match=f"{path} has no picture .* for the test split, which it numbers 2"):
        data.CelebATest(root=str(tmp_path))


def faces_in(images):
    """Which face an image shows, by its grey level."""
    return ((images.mean((1, 2, 3)) + 1) * 12.8).floor().long().numpy()


@pytest.mark.parametrize("kind", [data.FactorCelebATrain, data.FactorCelebATest])
def test_pairs_share_the_value_of_the_factor(tmp_path, kind):
    write_celeba(tmp_path)
    faces = kind(root=str(tmp_path))
    signs = celeba_signs(24)
    seen = []
    for epoch in range(10):
        faces.set_epoch(epoch)
        batch = faces.__getitems__(range(len(faces)))
        first, second = (faces_in(batch[name]) for name in ("example1", "example2"))
        factor = batch["factor"].numpy()
        assert (signs[first, factor] == signs[second, factor]).all()
        assert (signs[first, factor] == batch["value"].numpy()).all()
        seen.append((factor.tolist(), second.tolist()))
    assert {f for factors, _ in seen for f in factors} == {0, 1, 2, 3}
    assert (len({str(pair) for pair in seen}) == 1) == (kind is data.FactorCelebATest)


def test_factors_may_be_chosen(tmp_path):
    write_celeba(tmp_path)
    faces = data.FactorCelebATrain(factors=["Young"], root=str(tmp_path))
    example = faces[TRAIN.index(3)]  # the only young one pairs with itself
    assert example["factor"] == 0 and example["value"] == 1
    assert abs(example["example1"].mean() - example["example2"].mean()) < 1e-2


def test_factors_may_be_many():
    images = np.zeros((5, 3, 4, 4), dtype=np.uint8)
    labels = {f"label {k}": torch.tensor([0, 0, 1, 1, k]) for k in range(70)}
    batch = FactorPairs(images, labels, list(labels), 0).__getitems__([4] * 5)
    assert torch.equal(batch["value"], batch["factor"])


def test_unknown_factors_are_refused(tmp_path):
    images = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"expected among \['Male'\]; unknown: \['Mail'\]"):
        FactorPairs(images, {"Male": torch.tensor([0, 1])}, ["Mail"], None)


def test_caches_are_shared_by_single_faces_and_pairs(tmp_path):
    write_celeba(tmp_path)
    data.CelebATrain(root=str(tmp_path))
    data.FactorCelebATrain(root=str(tmp_path))
    assert len(list((tmp_path / "cache").glob("celeba-*"))) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_published_resizing_reaches_every_set(kind, tmp_path):
    for path in (write_celeba(tmp_path) / "img_align_celeba").iterdir():
        Image.effect_noise((178, 218), 100).convert("RGB").save(path)
    ours, published = (kind(root=str(tmp_path), antialias=each).images[np.array([0])] for each in (True, False))
    assert 1.2 * ours.std() < published.std()
