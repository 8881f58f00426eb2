"""Class paths of the older projects (iin, autoencoders, invariances of 2020) and the classes that replace them."""

IIN_KINDS = ("CIFAR10", "CelebA", "ColorfulMNIST", "FactorCelebA", "FashionMNIST", "MNIST", "SingleColorfulMNIST")
IIN_SETS = [f"{kind}{split}" for kind in IIN_KINDS for split in ("Train", "Test")]
ANIMAL_SETS = (
    "AnimalFacesRestrictedTest",
    "AnimalFacesRestrictedTrain",
    "AnimalFacesSharedTest",
    "AnimalFacesSharedTrain",
    "Folder",
    "ImageNetAnimalsTrain",
    "ImageNetAnimalsValidation",
)

ALIASES: dict[str, str] = {
    "iin.iterators.ae.Trainer": "invariances.iterators.AutoencoderIterator",
    "iin.iterators.clf.Trainer": "invariances.iterators.ClassifierIterator",
    "iin.iterators.iin.FactorTrainer": "invariances.iterators.DIINIterator",
    "iin.iterators.iin.Trainer": "invariances.iterators.IINIterator",
    "iin.losses.ae.LossPND": "invariances.losses.AutoencoderLoss",
    "iin.models.ae.Model": "invariances.models.Autoencoder",
    "iin.models.clf.Model": "invariances.models.Classifier",
    "iin.models.iin.FactorTransformer": "invariances.flows.FactorTransformer",
    "iin.models.iin.VectorTransformer": "invariances.flows.VectorTransformer",
    "invariances.iterator.cinn_trainer.AutoencoderConcatTrainer": "invariances.iterators.CINNIterator",
    "invariances.model.cinn.ConditionalTransformer": "invariances.flows.ConditionalTransformer",
    "invariances.model.cinn.Dummy": "invariances.flows.ConditionalTransformer",  # weights come from `pretrained_key`
    **{f"iin.data.{name}": f"invariances.data.{name}" for name in IIN_SETS},
    **{f"autoencoders.data.{name}": f"invariances.data.{name}" for name in ANIMAL_SETS},
}

# Networks under study, as `torchvision:NAME`.
GREYBOXES = {
    "invariances.greybox.classifiers.AlexNet": "alexnet",
    "invariances.greybox.classifiers.ResNet": "resnet101",
    "invariances.greybox.models.AlexNetClassifier": "alexnet",
    "invariances.greybox.models.ResnetClassifier": "resnet101",
}

BIG_AUTOENCODERS = "autoencoders.models."  # all classes below are, here, `invariances.models.BigAE`
BUILT_IN = ("iin.losses.iin.FactorLoss", "iin.losses.iin.Loss")  # losses that are part of the training tasks here
DIM_EVALUATOR = "iin.iterators.base.DimEvaluator"  # here the evaluation `factor_sizes`
OLD = {*ALIASES, *GREYBOXES, *BUILT_IN, DIM_EVALUATOR}


def is_old(path: object) -> bool:
    """Whether a value of a config is a class path of one of the older projects.

    >>> is_old("iin.models.ae.Model"), is_old("invariances.models.Autoencoder")
    (True, False)
    """
    return isinstance(path, str) and (path in OLD or path.startswith(BIG_AUTOENCODERS))


def renamed(path: str) -> str:
    """The present path of a class; any other text is returned unchanged.

    >>> renamed("iin.models.ae.Model"), renamed("my_models.Net")
    ('invariances.models.Autoencoder', 'my_models.Net')
    """
    return "invariances.models.BigAE" if path.startswith(BIG_AUTOENCODERS) else ALIASES.get(path, path)
