"""Flags of the captioner: its encoder and its decoder."""

import dataclasses

from cli.flags import flag
from model.definition.attention import ATTENTIONS
from model.definition.image_input import IMAGE_INPUTS
from model.definition.precision import PRECISIONS
from model.encoder import ENCODERS

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class ModelFlags:
    """What is built. Every field is a flag."""

    encoder: str = flag(
        "nasnet_large", "Network that computes the features.", choices=sorted(ENCODERS)
    )
    encoder_weights: str = flag(
        "imagenet",
        "Weights of the encoder at the start: `imagenet` (downloaded by Keras), `random`, or a"
        " .weights.h5, .h5 or .keras file of the network, with or without its top.",
    )
    precision: str = flag(
        "float32",
        "Number format of the inputs of matrix products; everything else stays float32. `auto`"
        " chooses bfloat16 on a GPU and on a CPU that multiplies it (AVX-512 BF16, AMX), else"
        " float32; the run keeps what was chosen.",
        choices=(AUTO, *PRECISIONS),
    )
    rnn_units: int = flag(512, "Units of the LSTM (U), 1 or more.", at_least=1)
    embedding_dim: int = flag(
        512, "Size of a word's embedding and of the deep output, 1 or more.", at_least=1
    )
    attention_units: int = flag(512, "Hidden units of the attention (A), 1 or more.", at_least=1)
    feature_projection: int = flag(
        512,
        "Depth (D') to which features are projected before attention, 0 or more; 0 attends to the"
        " features themselves.",
        at_least=0,
    )
    attention: str = flag(
        "soft",
        "Where a word looks: `soft` lets the LSTM's state decide at every word, `static` weighs the"
        " locations once per image, `none` shows the words nothing of the image.",
        choices=tuple(ATTENTIONS),
    )
    image_as: str = flag(
        "init_state",
        "How the image enters before the first word: `init_state` computes the LSTM's state from"
        " the image's vector (the mean of its features), `first_input` lets the LSTM read that"
        " vector before <start>, `context` starts from 0, so the image enters by attention alone.",
        choices=tuple(IMAGE_INPUTS),
    )
    gate: bool = flag(
        True, "Gate the context by the LSTM's state (beta in the paper); needs an attention."
    )
    deep_output: bool = flag(
        True,
        "Compute the logits from state, context and last word; without it from the state alone.",
    )
