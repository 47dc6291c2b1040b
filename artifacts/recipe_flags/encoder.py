"""Flags of an encoder that is trained, and of training images."""

import dataclasses

from cli.errors import UsageError
from cli.flags import flag


@dataclasses.dataclass(frozen=True)
class EncoderFlags:
    """How an encoder is trained along with the decoder. Every field is a flag."""

    encoder_trainable: bool = flag(
        False, "Train the encoder along with the decoder instead of keeping it frozen."
    )
    encoder_learning_rate: float = flag(
        0.0,
        "Learning rate of the encoder at its peak, 0 or more; it rises and decays as that of the"
        " decoder does, which is --learning_rate or --scst_learning_rate. 0 takes the decoder's.",
        at_least=0.0,
    )
    augment: bool = flag(
        False,
        "Show each training image otherwise in every epoch: a random crop, brightness, contrast and"
        " saturation, and its mirror image where no caption names a side. The encoder then runs in"
        " every epoch, frozen or not.",
    )

    def require_trained_encoder(self, learning_rate: float) -> None:
        """Refuse flags of an encoder's training where nothing trains the encoder.

        Args:
            learning_rate: That of the decoder at its peak.

        Raises:
            UsageError: The encoder is frozen, or its learning rate has no schedule to follow.
        """
        if not self.encoder_learning_rate:
            return
        given = f"--encoder_learning_rate={self.encoder_learning_rate:g}"
        if not self.encoder_trainable:
            raise UsageError(f"{given}: the encoder is frozen; add --encoder_trainable")
        if not learning_rate:
            raise UsageError(
                f"{given} follows the schedule of the decoder's learning rate, which is 0; give"
                " --learning_rate (of --stage=scst, --scst_learning_rate) a value"
            )
