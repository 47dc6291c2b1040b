"""The step function: all that a search knows of a model.

A step function takes the last word of N captions of each of B images and the state of those
captions. It returns the logits of the next word, the new state and the attention. What an image's
captions share (its features) stays inside the step function, so nothing of that is copied N times.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# (tokens [B, N], state) -> (logits [B, N, V] float32, new state, attention [B, N, L] float32).
# A state is any nest of tensors [B, N, ...].
StepFunction = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any, tf.Tensor]]


def repeat_state(state: Any, captions: int) -> Any:
    """The state of one caption an image, [B, 1, ...], as that of N: [B, N, ...]."""
    return tf.nest.map_structure(lambda x: tf.repeat(x, captions, 1), state)


def averaged(steps: Sequence[StepFunction]) -> StepFunction:
    """Several step functions as one: the mean of their probabilities at each word.

    Its state is a tuple of theirs; its attention is the first one's, for the others may see the
    image on another grid.
    """

    def step(tokens, states):
        logits, states, alphas = zip(
            *(one(tokens, state) for one, state in zip(steps, states, strict=True)), strict=True
        )
        if len(steps) == 1:
            return logits[0], states, alphas[0]
        log_probs = tf.nn.log_softmax(tf.stack(logits))
        return tf.reduce_logsumexp(log_probs, 0) - math.log(len(steps)), states, alphas[0]

    return step
