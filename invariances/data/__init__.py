"""Data sets: every example is a dict of tensors, images are float32 (C, H, W) in [-1, 1].

A data set is a class with plain arguments. In training sets noise, colours and pairs are random functions of the
seed, the epoch and the example; test sets are the same in every epoch and run.

- own pictures: `Folder`, `LabelFolder`; images in a NumPy file: `ArrayFile`
- a split, or fewer examples, of any of them: `Part`
- digits (8×8): `DigitsTrain/Test`, in colour `ColorfulDigitsTrain/Test`, pairs `ColorfulDigitsPairsTrain/Test`
- MNIST: `MNISTTrain/Test`, in colour `SingleColorfulMNISTTrain/Test`, pairs `ColorfulMNISTTrain/Test`
- FashionMNIST: `FashionMNISTTrain/Test`, pairs `ColorfulFashionMNISTTrain/Test`
- CIFAR10: `CIFAR10Train/Test`
- CelebA: `CelebATrain/Validation/Test`, pairs `FactorCelebATrain/Test`
- ImageNet: `ImageNetTrain/Validation`, its carnivores `ImageNetAnimalsTrain/Validation`
- AnimalFaces: `AnimalFacesTrain/Test`, `AnimalFacesSharedTrain/Test`, `AnimalFacesRestrictedTrain/Test`
- inputs of BigGAN: `BigGANSamplesTrain/Test`

Any map-style data set of such dicts can be used in their place; `invariances.data.base.BatchedDataset` is a base class
that computes whole batches.

>>> from invariances.data import DigitsTest
>>> {name: tuple(value.shape) for name, value in DigitsTest()[0].items()}
{'image': (1, 32, 32), 'class': ()}
"""

from invariances.data.part import Part
from invariances.data.sets.animalfaces import (
    AnimalFacesRestrictedTest,
    AnimalFacesRestrictedTrain,
    AnimalFacesSharedTest,
    AnimalFacesSharedTrain,
    AnimalFacesTest,
    AnimalFacesTrain,
)
from invariances.data.sets.array_file import ArrayFile
from invariances.data.sets.biggan import BigGANSamplesTest, BigGANSamplesTrain
from invariances.data.sets.celeba import (
    CelebATest,
    CelebATrain,
    CelebAValidation,
    FactorCelebATest,
    FactorCelebATrain,
)
from invariances.data.sets.cifar import CIFAR10Test, CIFAR10Train
from invariances.data.sets.digits import (
    ColorfulDigitsPairsTest,
    ColorfulDigitsPairsTrain,
    ColorfulDigitsTest,
    ColorfulDigitsTrain,
    DigitsTest,
    DigitsTrain,
)
from invariances.data.sets.folder import Folder, LabelFolder
from invariances.data.sets.imagenet import (
    ImageNetAnimalsTrain,
    ImageNetAnimalsValidation,
    ImageNetTrain,
    ImageNetValidation,
)
from invariances.data.sets.mnist import (
    ColorfulFashionMNISTTest,
    ColorfulFashionMNISTTrain,
    ColorfulMNISTTest,
    ColorfulMNISTTrain,
    FashionMNISTTest,
    FashionMNISTTrain,
    MNISTTest,
    MNISTTrain,
    SingleColorfulMNISTTest,
    SingleColorfulMNISTTrain,
)

__all__ = [
    "AnimalFacesRestrictedTest",
    "AnimalFacesRestrictedTrain",
    "AnimalFacesSharedTest",
    "AnimalFacesSharedTrain",
    "AnimalFacesTest",
    "AnimalFacesTrain",
    "ArrayFile",
    "BigGANSamplesTest",
    "BigGANSamplesTrain",
    "CIFAR10Test",
    "CIFAR10Train",
    "CelebATest",
    "CelebATrain",
    "CelebAValidation",
    "ColorfulDigitsPairsTest",
    "ColorfulDigitsPairsTrain",
    "ColorfulDigitsTest",
    "ColorfulDigitsTrain",
    "ColorfulFashionMNISTTest",
    "ColorfulFashionMNISTTrain",
    "ColorfulMNISTTest",
    "ColorfulMNISTTrain",
    "DigitsTest",
    "DigitsTrain",
    "FactorCelebATest",
    "FactorCelebATrain",
    "FashionMNISTTest",
    "FashionMNISTTrain",
    "Folder",
    "ImageNetAnimalsTrain",
    "ImageNetAnimalsValidation",
    "ImageNetTrain",
    "ImageNetValidation",
    "LabelFolder",
    "MNISTTest",
    "MNISTTrain",
    "Part",
    "SingleColorfulMNISTTest",
    "SingleColorfulMNISTTrain",
]
