"""Searches for captions with trained captioners: with one, or with an ensemble."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from model import hiding
from model.captioner import Captioner
from model.definition.decoder import first_attending
from model.fast import step as fast_step
from model.fast.step import SearchWeights
from model.hiding import Drops
from model.search.beam import beam_search
from model.search.greedy import greedy_search
from model.search.result import SearchResult
from model.search.rules import Rules
from model.search.sampling import sample
from model.search.step_function import averaged


def draw(
    captioner: Captioner, features: tf.Tensor, rules: Rules, seeds: tf.Tensor, samples: int
) -> SearchResult:
    """Run `sample` with a captioner's weights as they are now, as training does at every step.

    Nothing is kept or compiled: the caller's graph is the caller's.

    Args:
        captioner: what draws.
        features: [B, L, D] of any float type.
        rules: what a caption may be.
        seeds: [B, 2] int, one for each image.
        samples: N, captions of each image.

    Returns:
        The captions, [B, N, ...].
    """
    decoder = captioner.decoder
    weights, memory = fast_step.lay_out(decoder, table=False), decoder.memory(features)
    step = functools.partial(fast_step.step, weights, memory)
    return sample(step, decoder.initial_state(memory, 1), rules, seeds, samples=samples)


class CaptionGenerator:
    """The searches of `model.search`, compiled, over the decoders of one or several captioners.

    It holds a copy of the weights that is laid out for search. Call `refresh` after training went
    on. `features` are always a sequence with one [B, L, D] of any float type for each captioner.

    Attributes:
        captioners: the members of the ensemble.
        looking: the place of the captioner whose attention a search returns, the first that has
            one; None: no captioner has, and what a search returns means nothing.
    """

    def __init__(self, captioners: Sequence[Captioner]):
        """Copy the captioners' weights.

        Args:
            captioners: one or more, with the same vocabulary.
        """
        self.captioners = tuple(captioners)
        self.looking = first_attending(member.decoder.config for member in captioners)
        self.refresh()

    def refresh(self) -> None:
        """Copy the captioners' weights as they are now."""
        self._weights = tuple(fast_step.lay_out(captioner.decoder) for captioner in self.captioners)

    def greedy(self, features: Sequence[tf.Tensor], rules: Rules) -> SearchResult:
        """Run `greedy_search`: one caption of each image."""
        return self._run(greedy_search, self._weights, tuple(features), rules)

    def beam(self, features: Sequence[tf.Tensor], rules: Rules, **options: Any) -> SearchResult:
        """Run `beam_search` with its options; `locations` is known here."""
        options["locations"] = features[self.looking or 0].shape[1]
        return self._run(beam_search, self._weights, tuple(features), rules, options)

    def sample(
        self, features: Sequence[tf.Tensor], rules: Rules, seeds: tf.Tensor, **options: Any
    ) -> SearchResult:
        """Run `sample` with its seeds [B, 2] and options."""
        return self._run(sample, self._weights, tuple(features), rules, options, seeds)

    def drops(self, features: Sequence[tf.Tensor], ids: tf.Tensor, numbers: tf.Tensor) -> Drops:
        """Run `hiding.drops` of the captioner whose attention a search returns."""
        looking = self.looking or 0
        hidden = hiding.hidden_places(features[looking].shape[1])
        return self._drops(features[looking], ids, numbers, hidden)

    @tf.function(autograph=False, reduce_retracing=True)
    def _drops(self, features: tf.Tensor, ids: tf.Tensor, numbers: tf.Tensor, hidden: int) -> Drops:
        decoder = self.captioners[self.looking or 0].decoder
        return hiding.drops(decoder, features, ids, numbers, hidden)

    @tf.function(autograph=False, reduce_retracing=True)
    def _run(
        self,
        search: Callable[..., SearchResult],
        weights: tuple[SearchWeights, ...],
        features: tuple[tf.Tensor, ...],
        rules: Rules,
        options: dict[str, Any] | None = None,
        *args: tf.Tensor,
    ) -> SearchResult:
        # `weights` is an argument so that `refresh` reaches a graph that was traced before.
        steps, states = [], []
        for captioner, laid_out, image_features in zip(
            self.captioners, weights, features, strict=True
        ):
            memory = captioner.decoder.memory(image_features)
            steps.append(functools.partial(fast_step.step, laid_out, memory))
            states.append(captioner.decoder.initial_state(memory, 1))
        return search(
            averaged(steps, self.looking or 0), tuple(states), rules, *args, **(options or {})
        )
