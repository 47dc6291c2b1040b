"""The captioner that a bundle holds: pixels in, captions out, in one graph.

It computes what `captioning.replica.Replica` computes in float32. XLA compiles nothing in it.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from artifacts.restore import Restored
from captioning import search_options
from captioning.search_options import BeamSearch
from model.compiled import without_xla
from model.decoding import decode
from model.fast.frozen_encoder import FrozenEncoder
from model.search.beam import beam_search
from model.search.result import SearchResult
from records.vocabulary import END, PAD
from serving.bundle.words import TIBETAN, TSHEG

UPRIGHT = 1  # The EXIF orientation of every image here: the graph cannot read EXIF.


class ExportedCaptioner:
    """A trained captioner as functions of tensors. B images, N captions, T = max_words places.

    Args:
        restored: A captioner, restored in float32.
        words: The vocabulary's words, in the order of their ids.
        ends: [V] int32, what the end of each word says of the word after it (`joins.tsv`).
        begins: [V] int32, what the beginning of each word says of the word before it.
        search: How captions are searched for, and how many are returned.

    Attributes:
        size: S, the side of the square that goes into the encoder, in pixels.
        grid: (h, w) of the attention.
        attends: Whether results have an attention.
        captioner: What is exported.
        words, ends, begins: As given.
        search: How captions are searched for.
        variables: The decoder's weights. The encoder's weights are constants of the graph.
        weight_bytes: Size of all weights as float32.
    """

    def __init__(
        self,
        restored: Restored,
        words: Sequence[str],
        ends: np.ndarray,
        begins: np.ndarray,
        search: BeamSearch,
    ):
        captioner = restored.captioner
        precision = captioner.decoder.config.precision
        if precision != "float32":
            raise ValueError(f"a captioner is exported in float32, not in {precision}")
        self.captioner = captioner
        self._encoder = FrozenEncoder(captioner.encoder, precision, None)
        self.words, self.ends, self.begins = tuple(words), ends, begins
        height, width, _ = captioner.encoder.spec.grid
        self.size, self.grid = captioner.encoder.spec.size, (height, width)
        self.attends, self.search = captioner.decoder.config.attends, search
        # Those of TensorFlow, not Keras' around them: a SavedModel that holds both cannot be run
        # by TensorFlow Serving.
        self.variables = [variable.value for variable in captioner.decoder.variables]
        self.weight_bytes = sum(4 * int(np.prod(w.shape)) for w in captioner.weights)
        # Both functions of a bundle call this one, so that it is saved once.
        self._captions = tf.function(self._sentences, autograph=False)

    def find(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Search the captions of images.

        Args:
            pixels: [B, S, S, 3] float32 RGB in 0..255, upright.

        Returns:
            `ids` [B, N, T] int32, words, then `<end>`, then 0; `scores` [B, N] float32, -inf for a
            caption that was not found; `attention` [B, N, T, h, w] float32, if there is one.
        """
        with without_xla():
            found = self._search(self.features(pixels))
        captions = {"ids": found.ids, "scores": found.score}
        if self.attends:
            shape = tf.concat([tf.shape(found.ids), self.grid], 0)
            captions["attention"] = tf.reshape(found.attention, shape)
        return captions

    def features(self, pixels: tf.Tensor) -> tf.Tensor:
        """Return the encoder's features, [B, h, w, D] float16, as `find` uses them."""
        return self._encoder.in_graph(pixels)

    def captions(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Caption images.

        Args:
            pixels: As for `find`.

        Returns:
            `captions` [B, N] string, `words` [B, N, T] string, empty after the last one, and
            `scores` and `attention` as `find` returns them.
        """
        return self._captions(pixels)

    def captions_of_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Caption image files.

        Args:
            image_bytes: [B] string: JPEG, or PNG of 8 bits; upright, whatever EXIF says.

        Returns:
            As `captions`.
        """
        pixels = tf.map_fn(
            lambda encoded: decode(encoded, UPRIGHT, self.size),
            image_bytes,
            fn_output_signature=tf.TensorSpec([self.size, self.size, 3], tf.float32),
        )
        return self._captions(pixels)

    def _search(self, grid: tf.Tensor) -> SearchResult:
        decoder, search = self.captioner.decoder, self.search
        memory = decoder.memory(tf.reshape(grid, [-1, np.prod(self.grid), grid.shape[-1]]))
        return beam_search(
            lambda tokens, state: decoder.step(tokens, state, memory),
            decoder.initial_state(memory, 1),
            search_options.rules(search.no_repeat_ngram, search.min_length, search.max_words),
            locations=int(np.prod(self.grid)),
            beam_size=search.beam_size,
            length_penalty=search.length_penalty,
            n_best=search.n_best,
            cut=False,
        )

    def _sentences(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        found = self.find(pixels)
        ids = found.pop("ids")
        is_word = (ids != PAD) & (ids != END)
        words = tf.where(is_word, tf.gather(tf.constant(self.words), ids), "")
        bits = tf.bitwise.bitwise_and(
            tf.gather(tf.constant(self.ends, tf.int32), ids[..., :-1]),
            tf.gather(tf.constant(self.begins, tf.int32), ids[..., 1:]),
        )
        gaps = tf.where(bits == 0, " ", tf.where(bits == TIBETAN, TSHEG, ""))
        gaps = tf.where(is_word[..., 1:], gaps, "")
        gaps = tf.pad(gaps, [(0, 0), (0, 0), (1, 0)], constant_values="")
        captions = tf.strings.reduce_join(tf.strings.join([gaps, words]), -1)
        return {"captions": captions, "words": words, **found}
