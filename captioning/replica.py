"""Captioners on one device: pictures in, lines of a part out."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from artifacts import weights
from captioning import devices, parts
from captioning import image_file as image_files
from captioning.image_list import ImageList
from captioning.parts import Part, Picture
from captioning.split_list import SplitList
from cli.errors import UserError
from model.caption_generator import CaptionGenerator
from model.encoder import decode
from model.fast.frozen_encoder import FrozenEncoder
from model.search.rules import Rules
from records.manifest import read_vocabulary
from records.vocabulary import SPECIAL_IDS

# Batches of images that wait for the encoder, read and decoded.
_AHEAD = 2
Pictures = ImageList | SplitList


class Batches(NamedTuple):
    """Images that go through the encoder together, and through the search."""

    encoder: int
    decode: int


class _Seen(NamedTuple):
    """An image on its way; `pixels` by side of the square, `features` [L, D] by encoder."""

    place: int  # in its part
    picture: Picture
    pixels: Mapping[int, np.ndarray]
    features: Mapping[str, np.ndarray]


class Replica:
    """Captioners that speak together, on one device.

    On a GPU all products are in bfloat16; on a CPU they are as in training.

    Call arguments:
        device: one of `devices.devices()`.
        run_dirs: of the captioners.
        pictures: what is captioned; tells whether it holds features.
        search: values of the flags of the search, `n_best` among them.

    Raises:
        RunError: a run cannot be used.
        UserError: the pictures hold another encoder's features only.
    """

    def __init__(
        self, device: str, run_dirs: Sequence[str], pictures: Pictures, search: Mapping[str, Any]
    ):
        self._device, self._pictures = device, pictures
        with tf.device(device):
            restored = weights.restore_together(run_dirs, devices.precision(device))
            self._generator = CaptionGenerator([captioner for captioner, _ in restored])
        self.notes = [note for _, note in restored]
        self._vocabulary = read_vocabulary(run_dirs[0])
        self._rules = Rules(
            **SPECIAL_IDS, **{name: search[name] for name in ("no_repeat_ngram", "min_length")}
        )
        names = ("beam_size", "length_penalty", "n_best")
        self._search = {name: search[name] for name in names}
        self._slots, self._encoders = self._look_up_encoders(run_dirs)
        self._sides = {encoder.spec.size for encoder in self._encoders.values() if encoder}

    def _look_up_encoders(
        self, run_dirs: Sequence[str]
    ) -> tuple[list[str], dict[str, FrozenEncoder | None]]:
        """(Fingerprint of each captioner's encoder, one network each; None: features are held)."""
        slots, encoders = [], {}
        for run_dir, captioner in zip(run_dirs, self._generator.captioners, strict=True):
            slots.append(captioner.encoder.fingerprint())
            if slots[-1] not in encoders:
                trained = weights.read_config(run_dir)["data"]
                held = self._pictures.holds_features(captioner.encoder, trained)
                precision = captioner.decoder.config.precision
                encoders[slots[-1]] = (
                    None if held else FrozenEncoder(captioner.encoder, precision, None)
                )
        return slots, encoders

    @property
    def encodes(self) -> bool:
        """Whether images go through an encoder; else all features are held."""
        return bool(self._sides)

    def captions(
        self, queue: Iterator[Part], batches: Batches, pool: Executor, advance: Callable
    ) -> Iterator[tuple[Part, list[dict]]]:
        """The lines of each part, one part after the other.

        A batch never crosses parts, and the last one is filled up: what an image gets depends on
        its part alone, not on where an evaluation was killed.

        Call arguments:
            queue: the parts; may be shared with other replicas.
            pool: reads and decodes the images of the parts ahead.
            advance: called with the numbers of images captioned and rejected since the last call.
        """
        decoded = self._decoded(queue, pool, _AHEAD * batches.encoder)
        for part, images in itertools.groupby(decoded, lambda image: image[0]):
            lines: dict[int, dict] = {}
            readable = self._readable(images, lines, advance)
            encoded = itertools.chain.from_iterable(
                self._encode(batch, batches.encoder)
                for batch in _batched(readable, batches.encoder)
            )
            for batch in _batched(encoded, batches.decode):
                lines |= self._say(batch, batches.decode)
                advance(len(batch), 0)
            yield part, [lines[place] for place in range(part.images)]

    def _decoded(
        self, queue: Iterator[Part], pool: Executor, ahead: int
    ) -> Iterator[tuple[Part, int, Picture, Future]]:
        waiting = deque()
        for part in queue:
            for place, picture in enumerate(self._pictures.read(part)):
                waiting.append((part, place, picture, pool.submit(self._pixels, picture)))
                if len(waiting) > ahead:
                    yield waiting.popleft()
        yield from waiting

    def _pixels(self, picture: Picture) -> dict[int, np.ndarray]:
        """The image as every encoder takes it: by side, float32 [side, side, 3]."""
        if not self._sides:
            return {}
        encoded = picture.encoded or image_files.read(picture.image)
        try:
            with tf.device("cpu"):
                return {side: decode(tf.constant(encoded), side).numpy() for side in self._sides}
        except tf.errors.InvalidArgumentError as error:
            reason = error.message.splitlines()[0][:200]
            raise UserError(f"{picture.image}: cannot be decoded ({reason})") from None

    def _readable(
        self, images: Iterable, lines: dict[int, dict], advance: Callable
    ) -> Iterator[_Seen]:
        """The images of a part that can be decoded; the others go to `lines` with the reason."""
        for _, place, picture, future in images:
            try:
                pixels = future.result()
            except UserError as error:
                if not self._pictures.may_reject:
                    raise
                reason = str(error).removeprefix(f"{picture.image}: ")
                lines[place] = parts.rejected_line(picture, reason)
                advance(0, 1)
            else:
                yield _Seen(place, picture, pixels, {})

    def _encode(self, batch: list[_Seen], size: int) -> list[_Seen]:
        found = [{} for _ in batch]
        for slot, encoder in self._encoders.items():
            if encoder:
                pixels = _filled([seen.pixels[encoder.spec.size] for seen in batch], size)
                with tf.device(self._device):
                    grids = encoder(pixels)
            else:
                grids = [seen.picture.features for seen in batch]
            for features, grid in zip(found, grids, strict=False):  # what filled it is left out
                features[slot] = grid.reshape(-1, grid.shape[-1])
        return [
            seen._replace(features=features, pixels={}, picture=_light(seen.picture))
            for seen, features in zip(batch, found, strict=True)
        ]

    def _say(self, batch: list[_Seen], size: int) -> dict[int, dict]:
        """Place in the part -> line."""
        by_slot = {
            slot: _filled([seen.features[slot] for seen in batch], size) for slot in self._encoders
        }
        ids, scores = self._beam([by_slot[slot] for slot in self._slots])
        return {
            seen.place: parts.line(
                seen.picture,
                [
                    (self._vocabulary.decode(one), float(score))
                    for one, score in zip(said, ranks, strict=True)
                    if np.isfinite(score)
                ],
                self._search["n_best"],
            )
            for seen, said, ranks in zip(batch, ids, scores, strict=False)
        }

    def _beam(self, features: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Features [B, L, D] of each captioner -> ids [B, N, T] and scores [B, N]."""
        with tf.device(self._device):
            found = self._generator.beam(
                [tf.constant(one) for one in features], self._rules, **self._search
            )
            return found.ids.numpy(), found.score.numpy()

    # How much at once: what `devices.largest_useful` times.

    def encode_blank(self, images: int) -> None:
        """Encode so many blank images."""
        for encoder in filter(None, self._encoders.values()):
            side = encoder.spec.size
            with tf.device(self._device):
                encoder(np.zeros([images, side, side, 3], np.float32))

    def say_noise(self, images: int) -> None:
        """Caption so many images of noise."""
        rng = np.random.default_rng(0)
        grids = [captioner.encoder.spec.grid for captioner in self._generator.captioners]
        self._beam([rng.random((images, h * w, d), np.float32).astype("f2") for h, w, d in grids])


def _batched(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def _filled(arrays: list[np.ndarray], size: int) -> np.ndarray:
    """Stacked, the last repeated up to `size`: one shape, compiled once, whose search ends soon."""
    return np.stack(arrays + arrays[-1:] * (size - len(arrays)))


def _light(picture: Picture) -> Picture:
    return picture._replace(encoded=None, features=None)
