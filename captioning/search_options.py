"""How captions are searched for. The flags of the search are declared here, once."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from cli.flags import flag
from model.caption_generator import CaptionGenerator
from model.search.beam import BEAM_SIZE, LENGTH_PENALTY
from model.search.result import SearchResult
from model.search.rules import MAX_LENGTH, NO_REPEAT_NGRAM, Rules
from records.vocabulary import END, PAD, START, UNK

Features = Sequence[tf.Tensor]  # of each captioner: [B, L, D]
MAX_WORDS = MAX_LENGTH


@dataclasses.dataclass(frozen=True)
class BeamSearch:
    """Beam search.

    Attributes:
        n_best: How many captions of each image to return, at most `beam_size`.
    """

    beam_size: int = flag(
        BEAM_SIZE,
        "Hypotheses that beam search keeps (K), 1 or more; 1 is greedy search.",
        at_least=1,
    )
    length_penalty: float = flag(
        LENGTH_PENALTY,
        "Power of a caption's length by which its log-probability is divided for ranking, 0 or"
        " more; 0 favours short captions.",
        at_least=0.0,
    )
    no_repeat_ngram: int = flag(
        NO_REPEAT_NGRAM,
        "Forbid any n-gram of this length from occurring twice in a caption; 0 allows repeats.",
        at_least=0,
    )
    min_length: int = flag(
        0, "Fewest words that a caption may have, 0 or more and fewer than --max_words.", at_least=0
    )
    max_words: int = flag(
        MAX_WORDS,
        "Most words that a caption may have, 1 or more; a longer one is cut. Without this"
        " flag, a run that is trained on longer captions takes as many as they have.",
        at_least=1,
    )
    n_best: int = 1

    def run(
        self, generator: CaptionGenerator, features: Features, seeds: tf.Tensor | None = None
    ) -> SearchResult:
        """Search the captions of a batch.

        Args:
            generator: What searches.
            features: Of each of the generator's captioners, [B, L, D].
            seeds: Not used.

        Returns:
            `n_best` captions of each image, the best first.
        """
        return generator.beam(
            features,
            rules(self.no_repeat_ngram, self.min_length, self.max_words),
            beam_size=self.beam_size,
            length_penalty=self.length_penalty,
            n_best=self.n_best,
        )


@dataclasses.dataclass(frozen=True)
class GreedySearch:
    """The likeliest word at each step, as validation takes it; no word is forbidden.

    Attributes:
        max_words: As in `BeamSearch`.
    """

    max_words: int = MAX_WORDS

    def run(
        self, generator: CaptionGenerator, features: Features, seeds: tf.Tensor | None = None
    ) -> SearchResult:
        """Search the captions of a batch; arguments and result as in `BeamSearch.run`."""
        return generator.greedy(features, rules(max_words=self.max_words))


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Words drawn by their probability.

    Attributes:
        no_repeat_ngram: As in `BeamSearch`.
        min_length: As in `BeamSearch`.
        max_words: As in `BeamSearch`.
    """

    sample: bool = flag(
        False, "Draw each word by its probability instead of searching for the best caption."
    )
    temperature: float = flag(
        1.0,
        "With --sample: divisor of the logits, above 0; below 1 draws likely words more often.",
        at_least=1e-3,
    )
    top_k: int = flag(
        0,
        "With --sample: number of likeliest words to draw from, 0 or more; 0 draws from all.",
        at_least=0,
    )
    top_p: float = flag(
        1.0,
        "With --sample: share of the probability that the likeliest words to draw from hold, above"
        " 0 to 1.",
        at_least=1e-6,
        at_most=1.0,
    )
    seed: int = flag(
        1,
        "With --sample: seed, 0 or more; seed and image decide the caption.",
        at_least=0,
    )
    no_repeat_ngram: int = 0
    min_length: int = 0
    max_words: int = MAX_WORDS

    def run(
        self, generator: CaptionGenerator, features: Features, seeds: tf.Tensor | None = None
    ) -> SearchResult:
        """Draw a caption for each image of a batch.

        Args:
            generator: What draws.
            features: Of each of the generator's captioners, [B, L, D].
            seeds: [B, 2] int64, one for each image.

        Returns:
            One caption of each image.
        """
        return generator.sample(
            features,
            rules(self.no_repeat_ngram, self.min_length, self.max_words),
            seeds,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
        )


Search = BeamSearch | GreedySearch | Sampling


def rules(no_repeat_ngram: int = 0, min_length: int = 0, max_words: int = MAX_WORDS) -> Rules:
    """Return the rules of a search, with the ids of the vocabulary's special words.

    Args:
        no_repeat_ngram: As in `BeamSearch`.
        min_length: As in `BeamSearch`.
        max_words: As in `BeamSearch`.

    Returns:
        The rules.
    """
    return Rules(
        start=START,
        end=END,
        banned=(PAD, START, UNK),
        max_length=max_words,
        no_repeat_ngram=no_repeat_ngram,
        min_length=min_length,
    )
