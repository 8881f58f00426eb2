"""Small files in the true layouts of the data sets."""

import pickle

import numpy as np
from PIL import Image

from invariances.data.sets.animalfaces import RESTRICTED
from invariances.data.sets.imagenet import ANIMALS


def idx(array):
    """An array of bytes as an IDX file."""
    return (
        bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()
    )


def write_mnist(root, name="MNIST", n_train=40, n_test=20):
    """Image i is of class i % 10 and grey level 50 + 5 i, with its class as a bright column."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", n_train), ("t10k", n_test)):
        classes = (np.arange(n) % 10).astype(np.uint8)
        images = (
            np.zeros((n, 28, 28), dtype=np.uint8)
            + (50 + 5 * np.arange(n) % 200).astype(np.uint8)[:, None, None]
        )
        images[np.arange(n), :, classes] = 255
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(classes))
    return raw


def write_cifar(root, n=10):
    """Each batch has n images; image i of batch b is 20 b + i everywhere, its class i % 10."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for b, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        data = (20 * b + np.arange(n, dtype=np.uint8))[:, None].repeat(3072, axis=1)
        batch = {
            "data": data,
            "labels": [i % 10 for i in range(n)],
            "filenames": [f"{i}.png" for i in range(n)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder


ATTRIBUTES = ["Eyeglasses", "Male", "No_Beard", "Smiling", "Young"]


def celeba_signs(n):
    """Attribute k of face i is bit k of i; `Young` is true of face 3 alone."""
    signs = [[(i >> k) & 1 for k in range(4)] + [int(i == 3)] for i in range(n)]
    return np.array(signs)


def write_celeba(root, n=24, images=True):
    """Faces 0 … n − 1, grey level 10 i; of each six, four train, one validates, one tests."""
    home = root / "celeba"
    home.mkdir(parents=True)
    names = [f"{i + 1:06}.jpg" for i in range(n)]
    values = [" ".join(f"{2 * sign - 1:2}" for sign in row) for row in celeba_signs(n)]
    rows = [f"{name} {value}" for name, value in zip(names, values, strict=True)]
    (home / "list_attr_celeba.txt").write_text("\n".join([str(n), " ".join(ATTRIBUTES) + " ", *rows]) + "\n")
    partition = [f"{name} {max(0, i % 6 - 3)}" for i, name in enumerate(names)]
    (home / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    if images:
        (home / "img_align_celeba").mkdir()
        for i, name in enumerate(names):
            face(i).save(home / "img_align_celeba" / name, quality=100)
    return home


def face(i):
    """178×218, grey level 10 i in the middle 160×160 and white around it."""
    picture = Image.new("RGB", (178, 218), "white")
    picture.paste((10 * i,) * 3, (9, 29, 169, 189))
    return picture


def write_picture(path, color="gray", size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def write_animals(root, n=40):
    """Photographs of four classes of animals, train and val, and faces of two, in n colours."""
    for i in range(n):
        color = (6 * i, 99, 255 - 6 * i)
        write_picture(root / "animalfaces" / RESTRICTED[i % 2] / f"{i}.jpg", color)
        for split in ("train", "val"):
            write_picture(root / "imagenet" / split / ANIMALS[i % 4] / f"{i}.JPEG", color)
