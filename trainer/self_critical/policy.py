"""From a captioner that was trained with cross-entropy to one whose samples can be learnt from."""

import tensorflow as tf

from model.captioner import Captioner
from records.vocabulary import PAD

_SILENT = -50.0  # nats, the bias of a word that is never said


def become_policy(captioner: Captioner, temperature: float) -> None:
    """Sharpen a captioner, and give padding the probability 0; its greedy captions stay.

    Sampled at the temperature 1, most captions of a captioner that was trained with label smoothing
    hold a word that was drawn by chance. Their rewards hardly tell of what it knows.

    No search says padding, so no sample would tell how likely it is: the probability that other
    words lose would go there unseen.

    Args:
        captioner: The captioner of a new run.
        temperature: Divides the logits.
    """
    kernel, bias = captioner.decoder.output_logits
    assert bias is not None
    kernel.assign(kernel / temperature)
    bias.assign(tf.tensor_scatter_nd_update(bias / temperature, [[PAD]], [_SILENT]))
