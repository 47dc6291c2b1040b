"""Captions of images by trained captioners: one, or several that speak together."""

import functools
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from model.captioner import Captioner
from model.fast import step as fast_step
from model.search import beam
from model.search import one_by_one as search
from model.search.one_by_one import Captions, Rules, Step


class CaptionGenerator:
    """Searches captions with one captioner, or with an ensemble of them.

    It holds a copy of the weights that suits search: `refresh` takes over those that were trained
    on. All `features` below are a sequence of one [B, L, D] of any float type for each captioner.
    """

    def __init__(self, captioners: Sequence[Captioner]):
        """The captioners must share their vocabulary."""
        self.captioners = tuple(captioners)
        self.refresh()

    def refresh(self) -> None:
        """Take over the captioners' weights as they are now."""
        self._weights = tuple(fast_step.lay_out(c.decoder) for c in self.captioners)

    def greedy(self, features: Sequence[tf.Tensor], rules: Rules) -> Captions:
        """Compiled `search.greedy`."""
        return self._run(search.greedy, self._weights, tuple(features), rules)

    def beam(self, features: Sequence[tf.Tensor], rules: Rules, **options) -> Captions:
        """Compiled `beam.beam`, with its options."""
        return self._run(beam.beam, self._weights, tuple(features), rules, options)

    def sample(
        self, features: Sequence[tf.Tensor], rules: Rules, seeds: tf.Tensor, **options
    ) -> Captions:
        """Compiled `search.sample`, with its seeds [B, 2] and options."""
        return self._run(search.sample, self._weights, tuple(features), rules, options, seeds)

    @tf.function(autograph=False, reduce_retracing=True)
    def _run(self, find: Callable, weights, features, rules, options=None, *args) -> Captions:
        steps, states = [], []
        for captioner, laid_out, image in zip(self.captioners, weights, features, strict=True):
            memory = captioner.decoder.memory(image)
            steps.append(functools.partial(fast_step.step, laid_out, memory))
            states.append(captioner.decoder.initial_state(memory, 1))
        return find(averaged(steps), tuple(states), rules, *args, **(options or {}))


def averaged(steps: Sequence[Step]) -> Step:
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
