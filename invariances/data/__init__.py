"""Data sets: every example is a dict of tensors, images are float32 (C, H, W) in [-1, 1].

A data set is a class with plain arguments. Training sets draw noise, colours and partners anew in each epoch,
from their seed; test sets never change. See `invariances.data.base` for what all have in common.
"""

from invariances.data.sets.animalfaces import (
    AnimalFacesRestrictedTest,
    AnimalFacesRestrictedTrain,
    AnimalFacesSharedTest,
    AnimalFacesSharedTrain,
    AnimalFacesTest,
    AnimalFacesTrain,
)
from invariances.data.sets.biggan import BigGANSamplesTest, BigGANSamplesTrain
from invariances.data.sets.celeba import CelebATest, CelebATrain, FactorCelebATest, FactorCelebATrain
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
    "BigGANSamplesTest",
    "BigGANSamplesTrain",
    "CIFAR10Test",
    "CIFAR10Train",
    "CelebATest",
    "CelebATrain",
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
    "SingleColorfulMNISTTest",
    "SingleColorfulMNISTTrain",
]
