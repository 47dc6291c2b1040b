"""Captions of images by trained captioners: one, or several that speak together."""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from model.captioner import Captioner
from model.fast import step as fast_step
from model.search.beam import beam_search
from model.search.greedy import greedy_search
from model.search.result import SearchResult
from model.search.rules import Rules
from model.search.sampling import sample
from model.search.step_function import averaged


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

    def greedy(self, features: Sequence[tf.Tensor], rules: Rules) -> SearchResult:
        """Compiled `greedy_search`."""
        return self._run(greedy_search, self._weights, tuple(features), rules)

    def beam(self, features: Sequence[tf.Tensor], rules: Rules, **options) -> SearchResult:
        """Compiled `beam_search`, with its options."""
        return self._run(beam_search, self._weights, tuple(features), rules, options)

    def sample(
        self, features: Sequence[tf.Tensor], rules: Rules, seeds: tf.Tensor, **options
    ) -> SearchResult:
        """Compiled `sample`, with its seeds [B, 2] and options."""
        return self._run(sample, self._weights, tuple(features), rules, options, seeds)

    @tf.function(autograph=False, reduce_retracing=True)
    def _run(self, find: Callable, weights, features, rules, options=None, *args) -> SearchResult:
        steps, states = [], []
        for captioner, laid_out, image in zip(self.captioners, weights, features, strict=True):
            memory = captioner.decoder.memory(image)
            steps.append(functools.partial(fast_step.step, laid_out, memory))
            states.append(captioner.decoder.initial_state(memory, 1))
        return find(averaged(steps), tuple(states), rules, *args, **(options or {}))
