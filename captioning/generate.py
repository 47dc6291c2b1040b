"""Captions of decoded images, as the flags of the search say."""

import zlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import flags

from cli.errors import UsageError
from model.caption_generator import CaptionGenerator
from model.search.beam import BEAM_SIZE, LENGTH_PENALTY
from model.search.result import SearchResult
from model.search.rules import NO_REPEAT_NGRAM, Rules
from records.vocabulary import SPECIAL_IDS

_BEAM = ("beam_size", "length_penalty")
_SAMPLING = ("temperature", "top_k", "top_p", "seed")


def define_flags(values: flags.FlagValues) -> None:
    """Declare the flags of the search with absl."""
    of = {"flag_values": values}
    flags.DEFINE_integer("beam_size", BEAM_SIZE, "Hypotheses; 1: greedy.", 1, **of)
    flags.DEFINE_float(
        "length_penalty",
        LENGTH_PENALTY,
        "Rank captions by log-probability / length to this power; 0: shorter ones win.",
        0.0,
        **of,
    )
    flags.DEFINE_integer(
        "no_repeat_ngram",
        NO_REPEAT_NGRAM,
        "Say no so many words twice in a caption; 0: may.",
        0,
        **of,
    )
    flags.DEFINE_integer("min_length", 0, "Words at least.", 0, 29, **of)
    flags.DEFINE_bool("sample", False, "Draw the words by their probability.", **of)
    flags.DEFINE_float(
        "temperature", 1.0, "With --sample: below 1 draws the likely more often.", 1e-3, **of
    )
    flags.DEFINE_integer("top_k", 0, "With --sample: of so many likeliest words; 0: all.", 0, **of)
    flags.DEFINE_float(
        "top_p", 1.0, "With --sample: of the likeliest that hold this share.", 1e-6, 1.0, **of
    )
    flags.DEFINE_integer(
        "seed", 1, "With --sample: it and the image decide what is drawn.", 0, **of
    )


def refuse_contradictions(values: flags.FlagValues) -> None:
    """Raises: UsageError: flags of two ways to search."""
    for name in _BEAM if values.sample else _SAMPLING:
        if values[name].present:
            other = "contradicts --sample" if values.sample else "needs --sample"
            raise UsageError(f"--{name} {other}")


def captions(
    generator: CaptionGenerator, pixels: Mapping[int, np.ndarray], values: flags.FlagValues
) -> SearchResult:
    """The best caption of each image, or one that is drawn: [B, 1, ...].

    Call arguments:
        pixels: by the side that an encoder takes: the images, [B, side, side, 3] in 0..255.
    """
    features = [
        captioner.encoder(tf.constant(pixels[captioner.encoder.spec.size]))
        for captioner in generator.captioners
    ]
    rules = Rules(
        **SPECIAL_IDS, min_length=values.min_length, no_repeat_ngram=values.no_repeat_ngram
    )
    if not values.sample:
        return generator.beam(
            features, rules, beam_size=values.beam_size, length_penalty=values.length_penalty
        )
    # The same file and seed give the same caption, whatever the other files are.
    images = pixels[generator.captioners[0].encoder.spec.size]
    seeds = np.array([(values.seed, zlib.crc32(image.tobytes())) for image in images], np.int64)
    return generator.sample(
        features,
        rules,
        tf.constant(seeds),
        temperature=values.temperature,
        top_k=values.top_k,
        top_p=values.top_p,
    )
