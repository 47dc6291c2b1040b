"""Captioners on one device: images in, captions out. Every command captions through this."""

import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from itertools import chain, groupby, islice
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from artifacts import restore
from artifacts.restore import Restored
from captioning import devices, image_file
from captioning.feature_captioner import FeatureCaptioner, GeneratedCaption
from captioning.search_options import Sampling, Search
from captioning.source import ImageSource, Part, SourceImage
from cli.errors import UserError
from model.decoding import decode
from model.fast.frozen_encoder import FrozenEncoder

# Encoder batches of images that are read and decoded ahead.
_AHEAD = 2
_Item = TypeVar("_Item")


class BatchSizes(NamedTuple):
    """How many images go through the encoder together, and how many through the search."""

    encoder: int
    search: int


class Wanted(NamedTuple):
    """What a command wants beside the captions; each costs memory or time.

    Attributes:
        attention: Where each word looked.
        log_probabilities: How probable each word was.
        encoded: The bytes of the images, as the source gave them.
        drops: What hidden places cost the words of the best caption; needs an attention.
    """

    attention: bool = False
    log_probabilities: bool = False
    encoded: bool = False
    drops: bool = False


class Outcome(NamedTuple):
    """What became of one image.

    Attributes:
        part: The image's part.
        place: The image's place in its part.
        image: The image, its bytes and features left out unless wanted.
        captions: Its captions, the best first; empty when it could not be read.
        problem: Why it could not be read; None when it was captioned.
    """

    part: Part
    place: int
    image: SourceImage
    captions: tuple[GeneratedCaption, ...] = ()
    problem: str | None = None


class _Decoded(NamedTuple):
    """An image on its way through the networks."""

    place: int
    image: SourceImage
    pixels: Mapping[int, np.ndarray]  # side -> float32 [side, side, 3]
    features: Mapping[str, np.ndarray]  # fingerprint of an encoder -> [L, D]
    seed: int = 0


class Replica:
    """Captioners that caption together on one device.

    `devices.precision` says in which precision.

    Args:
        device: One of `devices.devices()`.
        run_dirs: The runs whose captioners to restore.
        source: The images; tells whether features come with them.
        search: How to search.
        wanted: What to return beside the captions.
        precision: What --caption_precision says, if anything.

    Attributes:
        restored: The captioners with their notes.

    Raises:
        UserError: A run cannot be used, or the images come with another encoder's features only.
    """

    def __init__(
        self,
        device: str,
        run_dirs: Sequence[str],
        source: ImageSource,
        search: Search,
        wanted: Wanted = Wanted(),  # noqa: B008  immutable
        precision: str | None = None,
    ):
        self._device, self._source, self._wanted = device, source, wanted
        with tf.device(device):
            precision = devices.precision(device, precision)
            self.restored = restore.restore_ensemble(run_dirs, precision)
            vocabulary = restore.read_vocabulary(run_dirs[0])
            captioners = [restored.captioner for restored in self.restored]
            self._captioner = FeatureCaptioner(captioners, vocabulary, search)
        self._grids = [captioner.encoder.spec.grid for captioner in captioners]
        self._encoders: dict[str, FrozenEncoder | None] = {}  # None: the features are held
        self._encoder_of = [self._prepare_encoder(restored) for restored in self.restored]
        self._sides = [encoder.spec.size for encoder in self._encoders.values() if encoder]
        # Sampling draws by the seed of the flags and the pixels, whatever else is in the batch.
        self._seed = search.seed if isinstance(search, Sampling) else None

    def _prepare_encoder(self, restored: Restored) -> str:
        """Freeze a captioner's encoder, once for captioners that share it; return its key."""
        captioner = restored.captioner
        key = captioner.encoder.fingerprint()
        if key not in self._encoders:
            held = self._source.holds_features(captioner.encoder, restored.config.data)
            precision = captioner.decoder.config.precision
            self._encoders[key] = (
                None if held else FrozenEncoder(captioner.encoder, precision, None)
            )
        return key

    @property
    def precisions(self) -> list[str]:
        """The precision of each captioner's matrix products."""
        return [member.captioner.decoder.config.precision for member in self.restored]

    @property
    def encodes(self) -> bool:
        """Whether images go through an encoder; else all features come with them."""
        return bool(self._sides)

    def outcomes(
        self, parts: Iterator[Part], sizes: BatchSizes, pool: Executor
    ) -> Iterator[Outcome]:
        """Caption the images of some parts, one part after the other.

        A batch never crosses parts, and the last batch of a part is filled up: the caption of an
        image depends on its part alone and not on where an evaluation was killed.

        Args:
            parts: The parts; other replicas may take from the same iterator.
            sizes: The batch sizes.
            pool: Reads and decodes images ahead.

        Yields:
            The outcome of each image: within a part, images that cannot be read may come early.
        """
        decoded = self._decode_ahead(parts, pool, _AHEAD * sizes.encoder)
        for part, images in groupby(decoded, lambda item: item[0]):
            rejected: deque[Outcome] = deque()
            readable = self._readable(part, images, rejected)
            encoded = chain.from_iterable(
                self._encode(batch, sizes.encoder) for batch in _batched(readable, sizes.encoder)
            )
            for batch in _batched(encoded, sizes.search):
                yield from _drained(rejected)
                yield from self._search(part, batch, sizes.search)
            yield from _drained(rejected)

    def _decode_ahead(
        self, parts: Iterator[Part], pool: Executor, ahead: int
    ) -> Iterator[tuple[Part, int, SourceImage, Future[dict[int, np.ndarray]]]]:
        waiting: deque[tuple[Part, int, SourceImage, Future[dict[int, np.ndarray]]]] = deque()
        for part in parts:
            for place, image in enumerate(self._source.read(part)):
                waiting.append((part, place, image, pool.submit(self._decode, image)))
                if len(waiting) > ahead:
                    yield waiting.popleft()
        yield from waiting

    def _decode(self, image: SourceImage) -> dict[int, np.ndarray]:
        """Decode an image for every encoder: side -> float32 [side, side, 3]."""
        if not self._sides:
            return {}
        encoded, orientation = image.encoded, image.orientation
        if encoded is None:
            file = image_file.read(image.name)
            encoded, orientation = file.encoded, file.orientation
        try:
            with tf.device("cpu"):
                content = tf.constant(encoded)
                return {side: decode(content, orientation, side).numpy() for side in self._sides}
        except tf.errors.InvalidArgumentError:
            raise UserError(
                f"{image.name}: expected an image, found pixels that are damaged"
            ) from None

    def _readable(
        self,
        part: Part,
        images: Iterable[tuple[Part, int, SourceImage, Future[dict[int, np.ndarray]]]],
        rejected: deque[Outcome],
    ) -> Iterator[_Decoded]:
        """Yield the images of a part that can be decoded; the others go to `rejected`."""
        for _, place, image, future in images:
            try:
                pixels = future.result()
            except UserError as error:
                if not self._source.may_reject:
                    raise
                problem = str(error).removeprefix(f"{image.name}: ")
                rejected.append(Outcome(part, place, self._light(image), problem=problem))
            else:
                yield _Decoded(place, image, pixels, {}, self._image_seed(pixels))

    def _image_seed(self, pixels: Mapping[int, np.ndarray]) -> int:
        if self._seed is None:
            return 0
        side = self.restored[0].captioner.encoder.spec.size
        return zlib.crc32(pixels[side].tobytes())

    def _encode(self, batch: list[_Decoded], size: int) -> list[_Decoded]:
        features: list[dict[str, np.ndarray]] = [{} for _ in batch]
        for key, encoder in self._encoders.items():
            if encoder:
                pixels = _filled([image.pixels[encoder.spec.size] for image in batch], size)
                with tf.device(self._device):
                    grids = list(encoder(pixels))
            else:
                grids = [np.asarray(decoded.image.features) for decoded in batch]
            for of_image, grid in zip(features, grids, strict=False):  # fillers are left out
                of_image[key] = grid.reshape(-1, grid.shape[-1])
        return [
            decoded._replace(features=of_image, pixels={}, image=self._light(decoded.image))
            for decoded, of_image in zip(batch, features, strict=True)
        ]

    def _search(self, part: Part, batch: list[_Decoded], size: int) -> Iterator[Outcome]:
        stacked = {key: _filled([x.features[key] for x in batch], size) for key in self._encoders}
        pairs = [np.array((self._seed or 0, decoded.seed), np.int64) for decoded in batch]
        wanted = self._wanted
        with tf.device(self._device):
            features = [tf.constant(stacked[key]) for key in self._encoder_of]
            seeds = None if self._seed is None else tf.constant(_filled(pairs, size))
            result = self._captioner.search(features, seeds)
            captions = self._captioner.captions(
                result, attention=wanted.attention, log_probabilities=wanted.log_probabilities
            )
            if wanted.drops:
                ids = _filled([np.array(decoded.image.image_id or 0) for decoded in batch], size)
                captions = self._captioner.with_drops(captions, result, features, ids)
        for decoded, of_image in zip(batch, captions, strict=False):  # fillers are left out
            yield Outcome(part, decoded.place, decoded.image, tuple(of_image))

    def _light(self, image: SourceImage) -> SourceImage:
        encoded = image.encoded if self._wanted.encoded else None
        return image._replace(encoded=encoded, features=None)

    # What `devices.largest_useful` times.

    def encode_blank(self, images: int) -> None:
        """Encode blank images.

        Args:
            images: How many.
        """
        for encoder in filter(None, self._encoders.values()):
            side = encoder.spec.size
            with tf.device(self._device):
                encoder(np.zeros([images, side, side, 3], np.float32))

    def caption_noise(self, images: int) -> None:
        """Search captions for features of noise.

        Args:
            images: How many.
        """
        rng = np.random.default_rng(0)
        shapes = [(images, height * width, depth) for height, width, depth in self._grids]
        with tf.device(self._device):
            noise = [tf.constant(rng.random(shape, np.float32).astype("f2")) for shape in shapes]
            self._captioner.search(noise).ids.numpy()


def _batched(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def _drained(waiting: deque[_Item]) -> Iterator[_Item]:
    while waiting:
        yield waiting.popleft()


def _filled(arrays: list[np.ndarray], size: int) -> np.ndarray:
    """Stack arrays and repeat the last one up to `size`: one shape is compiled once."""
    return np.stack(arrays + arrays[-1:] * (size - len(arrays)))
