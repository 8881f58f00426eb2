"""Names of the weights of autoencoders and classifiers in the released checkpoints."""

PARTS = (
    (r"\.conv\.", ".sub_layers.0."),
    (r"\.norm\.", ".sub_layers.1."),
    (r"^encoder\.blocks\.", "feature_layers."),
    (r"^encoder\.head\.", "dense_encode.sub_layers.0."),
    (r"^decoder\.head\.", "dense_decode.sub_layers.0."),
    (r"^decoder\.image\.", "image_layer.sub_layers.0."),
)


def released_names(n_decoder_blocks: int = 0) -> tuple[tuple[str, str], ...]:
    r"""Regular expressions for our names and their replacements, for `invariances.flows.released.load_released`.

    The released checkpoints number the decoder's blocks from the image, we number them from the code.

    >>> released_names(n_decoder_blocks=3)[-1]
    ('^decoder\\.blocks\\.2\\.', 'decoder_layers.0.')
    """
    last = n_decoder_blocks - 1
    blocks = ((rf"^decoder\.blocks\.{i}\.", f"decoder_layers.{last - i}.") for i in range(n_decoder_blocks))
    return (*PARTS, *blocks)
