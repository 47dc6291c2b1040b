"""The step function: all that a search knows of a model.

A step function takes the last word of N captions of each of B images and the state of those
captions. It returns the logits of the next word, the new state and the attention. What an image's
captions share (its features) stays inside the step function, so it is not copied N times.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# (tokens [B, N], state) -> (logits [B, N, V] float32, new state, attention [B, N, L] float32).
# A state is any nest of tensors [B, N, ...].
StepFunction = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any, tf.Tensor]]


def repeat_state(state: Any, captions: int) -> Any:
    """Repeat the state of one caption of each image, [B, 1, ...], for N captions: [B, N, ...]."""
    return tf.nest.map_structure(lambda x: tf.repeat(x, captions, 1), state)


def averaged(steps: Sequence[StepFunction], looking: int = 0) -> StepFunction:
    """Return an ensemble: one step function that averages the probabilities of several.

    Its state is a tuple of theirs. Its attention is that of one of them, because the others may see
    the image on another grid.

    Args:
        steps: step functions with the same vocabulary. A single one is returned as it is, but with
            its state in a tuple.
        looking: which of them the attention is of, from 0.
    """

    def step(tokens: tf.Tensor, states: tuple[Any, ...]) -> tuple[tf.Tensor, Any, tf.Tensor]:
        logits, states, alphas = zip(
            *(member(tokens, state) for member, state in zip(steps, states, strict=True)),
            strict=True,
        )
        if len(steps) == 1:
            return logits[0], states, alphas[looking]
        log_probs = tf.nn.log_softmax(tf.stack(logits))
        return tf.reduce_logsumexp(log_probs, 0) - math.log(len(steps)), states, alphas[looking]

    return step
