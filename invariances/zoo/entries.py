"""The released models: where each file lies, its checksum, and the class and arguments that it is the weights of."""

from dataclasses import dataclass, field
from typing import Any

HEIBOX = "https://heibox.uni-heidelberg.de/f/{}/?dl=1"
GEIRHOS = "https://bitbucket.org/robert_geirhos/texture-vs-shape-pretrained-models/raw/"

SENSE = "Rombach, Esser and Ommer 2020, Making Sense of CNNs, arXiv 2008.01777"
DISENTANGLING = "Esser, Rombach and Ommer 2020, A Disentangling Invertible Interpretation Network, arXiv 2004.13166"
BIGGAN = "Brock, Donahue and Simonyan 2019, Large Scale GAN Training, arXiv 1809.11096"
STYLISED = "Geirhos et al. 2019, ImageNet-trained CNNs are biased towards texture, arXiv 1811.12231"
LPIPS = "Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, arXiv 1801.03924"

CINN = "invariances.flows.ConditionalTransformer"
RESNET = "invariances.models.ResNetClassifier"
BIGAE = "invariances.models.BigAE"
GENERATOR = "invariances.models.BigGAN"


@dataclass(frozen=True)
class Entry:
    """A released file.

    Attributes:
        name: of the entry.
        url: where it is downloaded from.
        file: name of the file.
        paper: where the model was published.
        checksum: "md5:DIGITS" or "sha256:DIGITS"; None if none was published.
        size: bytes, where known.
        model: dotted class of the model; None for a file that no class here is made of.
        arguments: of the class.
        licence: where its owners state one.
        note: what else there is to know, one sentence.
    """

    name: str
    url: str
    file: str
    paper: str
    checksum: str | None = None
    size: int | None = None
    model: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    licence: str | None = None
    note: str = ""


def _cinn(name: str, share: str, md5: str, file: str, codes: int, channels: int, size: int, **embedder: int) -> Entry:
    """A conditional INN: `codes` channels, given a layer of `channels` channels and `size` × `size` positions."""
    arguments: dict[str, Any] = {"in_channels": codes, "mid_channels": 1024, "hidden_depth": 2, "n_flows": 20}
    arguments |= {"conditioning_in_channels": channels, "conditioning_spatial_size": size, **embedder}
    arguments |= {"activation": "none", "conditioning_option": "none"}
    return Entry(name, HEIBOX.format(share), file, SENSE, f"md5:{md5}", model=CINN, arguments=arguments)


def _heibox(name: str, share: str, md5: str | None, file: str, paper: str = SENSE, **rest: Any) -> Entry:
    """A file of the authors of the method."""
    return Entry(name, HEIBOX.format(share), file, paper, md5 and f"md5:{md5}", **rest)


def _bigae(name: str, share: str, md5: str, file: str, norm: str, use_actnorm_in_dec: bool) -> Entry:
    arguments = {"in_size": 128, "z_dim": 128, "type": "resnet101", "norm": norm, "deterministic": False}
    arguments |= {"use_actnorm_in_dec": use_actnorm_in_dec}
    return _heibox(name, share, md5, file, model=BIGAE, arguments=arguments)


def _stylised(name: str, path: str) -> Entry:
    """A ResNet-50 that was trained on stylised ImageNet."""
    note = "ResNet-50 trained on stylised ImageNet"
    arguments = {"n_classes": 1000, "type": "resnet50"}
    return Entry(name, GEIRHOS + path, path.rpartition("/")[2], STYLISED, model=RESNET, arguments=arguments, note=note)


_ALL = (
    _cinn(
        "cinn_alexnet_aae_conv5", "62b0e29d8c544f51b79c", "ae9367e3cf7486218375c2b328d1273a", "conv5.ckpt", 128, 256,
        13, embedder_down=2,
    ),
    _cinn(
        "cinn_alexnet_aae_fc6", "5d07dc071dd1450eb0a5", "e7128567ee0686d362ed83cfda9fabc1", "fc6.ckpt", 128, 4096, 1,
        embedder_down=3,
    ),
    _cinn(
        "cinn_alexnet_aae_fc7", "050d4d76f3cf4eeeb9b6", "342ab8f9280ed83f30150e586c7df13b", "fc7.ckpt", 128, 4096, 1,
        embedder_down=3,
    ),
    _cinn(
        "cinn_alexnet_aae_fc8", "cb9c93497aae4e97890c", "ce6b5bfc316a855693b7e1808d6f3a46", "fc8.ckpt", 128, 1000, 1,
        embedder_down=3,
    ),
    _cinn(
        "cinn_alexnet_aae_softmax", "5a30088c51b44cc58bbe", "15fbdd0d8d51ba0031fbc07ebf0ba2f6", "softmax.ckpt", 128,
        1000, 1, embedder_down=3,
    ),
    _cinn(
        "cinn_stylizedresnet_avgpool", "7a54929dee4544248020", "0dd3f262a8179920d77db7404a599e35", "avgpool.ckpt",
        268, 2048, 1, embedder_down=3,
    ),
    _cinn(
        "cinn_resnet_avgpool", "d31717bb225b4692bbb3", "c956206cadc928febfa7c940425f2edd", "avgpool.ckpt", 268, 2048,
        1, embedder_down=3,
    ),
    _heibox(
        "resnet101_animalfaces_shared", "a2c36d628f574ed8aa68", "784b6b52eb30341484b5fb69e3b9ae60",
        "animalfaces149_modelub_16908.ckpt", model=RESNET, arguments={"n_classes": 149, "type": "resnet101"},
    ),
    _heibox(
        "resnet101_animalfaces_10", "314926cb0d754cd9bb02", "473cd4c25e7dedf87967489992498f06",
        "animalfaces10_modelub_6118.ckpt", model=RESNET, arguments={"n_classes": 10, "type": "resnet101"},
    ),
    _cinn(
        "cinn_resnet_animalfaces10_ae_maxpool", "30dc2640dfd54b339f93", "bc6ef45423b44920a21f5b99b637a77e",
        "maxpool_model-7000.ckpt", 128, 64, 56, embedder_down=4,
    ),
    _cinn(
        "cinn_resnet_animalfaces10_ae_input", "abe885bdaf1c46139020", "fdabc84090536cb86cc7c26ac1882602",
        "input_model-7000.ckpt", 128, 3, 224, embedder_down=5,
    ),
    _cinn(
        "cinn_resnet_animalfaces10_ae_layer1", "00687f7bc1d6409aa680", "22bc960b6b17e7ba20a835610c900546",
        "layer1_model-7000.ckpt", 128, 256, 56, embedder_down=4,
    ),
    _cinn(
        "cinn_resnet_animalfaces10_ae_layer2", "51795cdc045246c49cdc", "36708e3cde454bf76c37300abf90a7e8",
        "layer2_model-7000.ckpt", 128, 512, 28, embedder_down=3,
    ),
    _cinn(
        "cinn_resnet_animalfaces10_ae_layer3", "860cfa3327f3426db1f6", "57001f54ba533af446702bf960644e9f",
        "layer3_model-7000.ckpt", 128, 1024, 14, embedder_down=2,
    ),
    _cinn(
        "cinn_resnet_animalfaces10_ae_layer4", "1a2058efb9564cb7bcf7", "94e9a044fbca68fe8e994e7521be3f2d",
        "layer4_model-7000.ckpt", 128, 2048, 7, embedder_down=1,
    ),
    _cinn(
        "cinn_resnet_animalfaces10_ae_avgpool", "859c201776ee4b5f8b15", "0993b79c3d0e7be4be8f99bda82db934",
        "avgpool_model-7000.ckpt", 128, 2048, 1, conditioning_depth=6,
    ),
    _cinn(
        "cinn_resnet_animalfaces10_ae_fc", "b0a485885ab44e4daa44", "1fc381a48c9a2a9001609ad1b8a2f941",
        "fc_model-7000.ckpt", 128, 10, 1, conditioning_depth=4,
    ),
    _cinn(
        "cinn_resnet_animalfaces10_ae_softmax", "19c56eff387c40f3bd44", "37303f1d9e2ef71ae75bc765415bbb0e",
        "softmax_model-7000.ckpt", 128, 10, 1, conditioning_depth=4,
    ),
    _bigae(
        "bigae_animals", "f0adb4d509ea4132b9ea", "6213882571854935226a041b8dcaecdd", "animals-1672855.ckpt",
        norm="an", use_actnorm_in_dec=True,
    ),
    _bigae(
        "bigae_animalfaces", "3c0bf40a85a84e2a986e", "7f379d6ebcbc03a710ef0605806f0b51", "animalfaces-631606.ckpt",
        norm="bn", use_actnorm_in_dec=False,
    ),
    _heibox(
        "biggan_128", "56ed256209fd40968864", "a2148cf64807444113fac5eede060d28", "biggan-128.pth", paper=BIGGAN,
        model=GENERATOR, arguments={"size": 128},
    ),
    _heibox(
        "biggan_256", "437b501944874bcc92a4", "e23db3caa34ac4c4ae922a75258dcb8d", "biggan-256.pth", paper=BIGGAN,
        model=GENERATOR, arguments={"size": 256},
    ),
    _heibox("dequant_vae", "e7c8959b50a64f40826e", "5c2a6fe765142cbdd9f10f15d65a68b6", "dequantvae-20000.ckpt"),
    _heibox(
        "vgg_lpips", "607503859c864bc1b30b", "d507d7349b931f0638a25a48a722f98a", "vgg.pth", paper=LPIPS,
        licence="BSD-2-Clause", note="Linear heads of LPIPS on VGG16; torchmetrics ships its own.",
    ),
    _stylised(
        "resnet50_trained_on_SIN", "6f41d2e86fc60566f78de64ecff35cc61eb6436f/resnet50_train_60_epochs-c8e5653e.pth.tar"
    ),
    _stylised(
        "resnet50_trained_on_SIN_and_IN",
        "60b770e128fffcbd8562a3ab3546c1a735432d03/resnet50_train_45_epochs_combined_IN_SF-2a0d100e.pth.tar",
    ),
    _stylised(
        "resnet50_trained_on_SIN_and_IN_then_finetuned_on_IN",
        "60b770e128fffcbd8562a3ab3546c1a735432d03/resnet50_finetune_60_epochs_lr_decay_after_30_start_resnet50_train_45_epochs_combined_IN_SF-ca06340c.pth.tar",
    ),
    _heibox(
        "iin_logs", "ef7566f564dc42858b90", None, "logs.tar.gz", paper=DISENTANGLING,
        note="About 2.2 GB: run folders of autoencoders, classifier, IINs and dIINs. Give a checkpoint in it by path.",
    ),
)

ENTRIES = {entry.name: entry for entry in _ALL}
