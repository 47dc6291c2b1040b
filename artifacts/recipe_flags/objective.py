"""Flags of the objective: dropout, penalties and label smoothing."""

import dataclasses

from cli.flags import flag


@dataclasses.dataclass(frozen=True)
class ObjectiveFlags:
    """What is minimised. Every field is a flag."""

    dropout: float = flag(
        0.5,
        "Dropout rate on features, embeddings and the deep output, 0 to 0.99.",
        at_least=0.0,
        at_most=0.99,
    )
    word_dropout: float = flag(
        0.0,
        "Share of the words fed in that <unk> replaces in training, 0 to 0.99.",
        at_least=0.0,
        at_most=0.99,
    )
    scheduled_sampling: float = flag(
        0.0,
        "Share of the words fed in at the end of the training that are the model's own likeliest"
        " words in place of the caption's, 0 to 1. It rises linearly from 0, and makes a step a"
        " third slower.",
        at_least=0.0,
        at_most=1.0,
    )
    l2: float = flag(
        1e-6,
        "Weight of the sum of squares of the dense kernels in the objective, 0 or more.",
        at_least=0.0,
    )
    doubly_stochastic: float = flag(
        0.01,
        "Weight of the doubly stochastic attention penalty in the objective, 0 or more.",
        at_least=0.0,
    )
    attention_entropy: float = flag(
        0.0,
        "Weight of the attention's entropy in the objective, 0 or more; a higher weight makes each"
        " word look at fewer locations.",
        at_least=0.0,
    )
    attention_entropy_floor: float = flag(
        0.0,
        "Entropy in nats from which on --attention_entropy weighs, 0 or more: a word that looks at"
        " fewer locations is left alone. 2.5 is that of 12 locations that weigh alike.",
        at_least=0.0,
    )
    label_smoothing: float = flag(
        0.0,
        "Share of the target probability that is spread over all words, 0 to 0.99.",
        at_least=0.0,
        at_most=0.99,
    )
