"""Features that records hold: whose they are, and whether a captioner can use them."""

from artifacts import pixel_versions
from cli.errors import UserError
from model.encoder import PREPROCESSING_VERSION, Encoder
from records.manifest import DatasetInfo, EncoderInfo


def usable(
    info: DatasetInfo,
    records_dir: str,
    encoder: Encoder,
    preprocessing: int = PREPROCESSING_VERSION,
) -> bool:
    """Tell whether the records' features can replace a pass of the encoder.

    Prints a line when the features do not fit and the images are used instead.

    Args:
        info: The manifest of the records.
        records_dir: Their folder, for messages.
        encoder: The captioner's encoder.
        preprocessing: The version of the preprocessing that the captioner is trained with.

    Returns:
        Whether to read features; else images are read.

    Raises:
        UserError: The features come from another encoder, and the records hold no images.
    """
    if not info.encoder:
        return False
    difference = _difference(info.encoder, encoder, preprocessing)
    if not difference:
        return True
    if info.flags.store == "both":
        print(f"{records_dir}: its features {difference}: the images are used")
        return False
    raise UserError(
        f"{records_dir}: its features {difference}; give records with images, or features that"
        " `pipeline.build_records --features` computed with this encoder and these weights"
    )


def _difference(stored: EncoderInfo, encoder: Encoder, preprocessing: int) -> str | None:
    if stored.name != encoder.name:
        return f"are of {stored.name}, the model's encoder is {encoder.name}"
    if not pixel_versions.agree(stored.preprocessing, preprocessing):
        return (
            f"were made with version {stored.preprocessing} of the preprocessing, the model's is"
            f" {preprocessing}"
        )
    if encoder.trainable:
        return f"are of {encoder.name} as it was, the model's encoder is trained with the decoder"
    fingerprint = encoder.fingerprint()
    if stored.weights != fingerprint:
        return (
            f"are of {encoder.name} with the weights {stored.weights[:12]}, the model's encoder"
            f" has the weights {fingerprint[:12]}"
        )
    return None
