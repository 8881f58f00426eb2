"""Class paths of the older projects (iin, invariances of 2020, autoencoders) and the classes that replace them."""

DATASETS = (
    "CIFAR10Test",
    "CIFAR10Train",
    "CelebATest",
    "CelebATrain",
    "ColorfulMNISTTest",
    "ColorfulMNISTTrain",
    "FactorCelebATest",
    "FactorCelebATrain",
    "FashionMNISTTest",
    "FashionMNISTTrain",
    "MNISTTest",
    "MNISTTrain",
    "SingleColorfulMNISTTest",
    "SingleColorfulMNISTTrain",
)

ALIASES: dict[str, str] = {
    "autoencoders.models.ae.Model": "invariances.models.Autoencoder",
    "iin.models.ae.Model": "invariances.models.Autoencoder",
    "iin.models.classifier.Model": "invariances.models.Classifier",
    "iin.models.iin.FactorTransformer": "invariances.flows.FactorTransformer",
    "iin.models.iin.VectorTransformer": "invariances.flows.VectorTransformer",
    "invariances.models.ae.Model": "invariances.models.Autoencoder",
    "invariances.models.cinn.ConditionalTransformer": "invariances.flows.ConditionalTransformer",
    "invariances.models.flow.ConditionalTransformer": "invariances.flows.ConditionalTransformer",
    **{f"iin.data.{name}": f"invariances.data.{name}" for name in DATASETS},
}
