import pytest
import torch
from PIL import Image

from invariances import data
from invariances.data.archives import MissingFiles
from invariances.data.sets.animalfaces import RESTRICTED, animal_faces
from invariances.data.sets.imagenet import ANIMALS
from tests.data.stand_ins import write_picture

KINDS = [
    data.AnimalFacesTrain,
    data.AnimalFacesTest,
    data.AnimalFacesSharedTrain,
    data.AnimalFacesSharedTest,
    data.AnimalFacesRestrictedTrain,
    data.AnimalFacesRestrictedTest,
]


@pytest.fixture
def root(tmp_path):
    """Twelve crops of the first six animals and of two of the restricted ones."""
    for wnid in (*ANIMALS[:6], *RESTRICTED[:2]):
        for i in range(12):
            write_picture(tmp_path / "animalfaces" / wnid / f"{wnid}_{i}.JPEG_0_0_20_30.jpg")
    return tmp_path


def classes(kind, root, **arguments):
    return kind(root=str(root), size=8, **arguments).labels["class"]


def test_classes_are_disjoint_in_the_plain_splits(root):
    train, test = classes(data.AnimalFacesTrain, root), classes(data.AnimalFacesTest, root)
    assert set(train.tolist()) == {1, 2, 3, 4, 56, 119} and set(test.tolist()) == {0, 5}
    assert len(train) + len(test) == 96


def test_of_all_classes_119_train_and_30_test(tmp_path):
    for wnid in ANIMALS:
        write_picture(tmp_path / "animalfaces" / wnid / "1.jpg", size=(8, 8))
    assert len(classes(data.AnimalFacesTrain, tmp_path)) == 119
    assert len(classes(data.AnimalFacesTest, tmp_path)) == 30


def test_classes_are_on_both_sides_of_the_shared_splits(root):
    train = data.AnimalFacesSharedTrain(root=str(root), size=8)
    test = data.AnimalFacesSharedTest(root=str(root), size=8)
    assert train.labels["class"].bincount()[[0, 5, 56, 119]].tolist() == [10] * 4
    assert test.labels["class"].bincount()[[0, 5, 56, 119]].tolist() == [2] * 4
    assert not set(train.files) & set(test.files)


def test_two_pictures_are_enough_for_both_sides(tmp_path):
    for i in range(2):
        write_picture(tmp_path / "animalfaces" / ANIMALS[7] / f"{i}.jpg")
    assert classes(data.AnimalFacesSharedTrain, tmp_path).tolist() == [7]
    assert classes(data.AnimalFacesSharedTest, tmp_path).tolist() == [7]


def test_restricted_classes_have_numbers_of_their_own(root):
    train = classes(data.AnimalFacesRestrictedTrain, root)
    assert train.tolist() == [0] * 10 + [1] * 10
    assert classes(data.AnimalFacesRestrictedTest, root).tolist() == [0] * 2 + [1] * 2


def test_a_face(root):
    face = data.AnimalFacesTrain(root=str(root))[0]
    assert face["image"].shape == (3, 128, 128) and face["image"].dtype == torch.float32
    assert face["class"].dtype == torch.int64


def write_imagenet(root, wnid):
    """A red square on black at (10, 20) to (30, 40)."""
    picture = Image.new("RGB", (50, 60), "black")
    picture.paste("red", (10, 20, 30, 40))
    (root / "imagenet" / "train" / wnid).mkdir(parents=True)
    picture.save(root / "imagenet" / "train" / wnid / f"{wnid}_5.JPEG", quality=100, subsampling=0)


def test_faces_are_cut_out_of_imagenet_by_a_list(tmp_path):
    for wnid in (ANIMALS[3], ANIMALS[8]):
        write_imagenet(tmp_path, wnid)
    (tmp_path / "animalfaces").mkdir()
    lines = [f"{wnid}/{wnid}_5.JPEG_10_20_30_40.jpg {i}" for i, wnid in enumerate((ANIMALS[8], ANIMALS[3]))]
    (tmp_path / "animalfaces" / "faces.txt").write_text("\n".join([*lines, "", "# nothing", lines[0]]))
    faces = data.AnimalFacesTrain(root=str(tmp_path), size=8)
    assert faces.labels["class"].tolist() == [3, 8]
    red = (faces[0]["image"].mean((1, 2)) + 1) * 128
    assert red[0] > 240 and red[1:].max() < 20


def test_lists_of_a_test_split_decide_it(tmp_path):
    (tmp_path / "animalfaces").mkdir()
    for part, wnid in (("train", ANIMALS[0]), ("test", ANIMALS[1])):
        write_imagenet(tmp_path, wnid)
        (tmp_path / "animalfaces" / f"animals_list_{part}.txt").write_text(f"{wnid}_5.JPEG_10_20_30_40.jpg")
    assert classes(data.AnimalFacesTrain, tmp_path).tolist() == [0]
    assert classes(data.AnimalFacesTest, tmp_path).tolist() == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_missing_files_are_named_with_what_can_be_put_where(tmp_path, kind):
    with pytest.raises(MissingFiles, match=f"{tmp_path}/animalfaces has neither folders of crops"):
        kind(root=str(tmp_path))


def test_a_list_without_imagenet(tmp_path):
    (tmp_path / "animalfaces").mkdir()
    (tmp_path / "animalfaces" / "faces.txt").write_text(f"{ANIMALS[0]}_5.JPEG_10_20_30_40.jpg")
    with pytest.raises(MissingFiles, match=f"cropped from {tmp_path}/imagenet/train"):
        animal_faces(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_that_names_no_carnivore(tmp_path, kind):
    (tmp_path / "animalfaces").mkdir()
    (tmp_path / "animalfaces" / "faces.txt").write_text("n01440764_5.JPEG_10_20_30_40.jpg")  # a fish
    with pytest.raises(MissingFiles, match=r"crops of carnivores, such as n02099601/, nor a \.txt file of them"):
        kind(root=str(tmp_path))


def test_a_folder_in_the_place_of_a_list(tmp_path):
    (tmp_path / "animalfaces" / "faces.txt").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"faces\.txt is no regular file"):
        animal_faces(tmp_path)


def test_a_set_of_which_nothing_is_there(tmp_path):
    write_picture(tmp_path / "animalfaces" / ANIMALS[0] / "1.jpg")
    with pytest.raises(MissingFiles, match="none of the 1 faces"):
        data.AnimalFacesTrain(root=str(tmp_path))
