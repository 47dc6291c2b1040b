"""From the bytes of images to their captions: decoded in threads, computed in batches."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pixels.formats import BadImageError
from serving.web import refusals
from serving.web.batching import Batcher, Captions, Place
from serving.web.limits import Limits
from serving.web.logs import LOGGER
from serving.web.refusals import RefusalError

# Each may hold the pixels of a very large image.
_MOST_DECODERS = 4
Outcome = Captions | RefusalError


class ImageCaptioner:
    """The way of every image through the server.

    Args:
        decode: From the bytes of an image file to float32 [S, S, 3]; raises `BadImageError`.
        batcher: Computes captions.
        limits: The deadline.
    """

    def __init__(self, decode: Callable[[bytes], np.ndarray], batcher: Batcher, limits: Limits):
        self._decode, self._batcher, self._limits = decode, batcher, limits
        self._pool = ThreadPoolExecutor(min(_MOST_DECODERS, len(os.sched_getaffinity(0))), "decode")

    async def caption(self, images: Sequence[bytes]) -> list[Outcome]:
        """Return the captions of each image, or why it has none.

        Args:
            images: The bytes of image files.

        Raises:
            RefusalError: The queue has no places for all of them, or the deadline has passed.
        """
        places = self._batcher.admit(len(images))
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                pairs = zip(images, places, strict=True)
                return await asyncio.gather(*(self._outcome(*pair) for pair in pairs))
        except TimeoutError:
            message = f"no captions after {self._limits.deadline_s:g} seconds"
            raise RefusalError(504, "deadline", message, retry=True) from None
        finally:
            for place in places:
                place.release()

    def stop(self) -> None:
        """Stop decoding."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _outcome(self, image: bytes, place: Place) -> Outcome:
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            pixels = await loop.run_in_executor(self._pool, self._decode, image)
        except BadImageError as error:
            place.release()
            return refusals.of_image(error)
        except Exception:
            # A decoder met what its author did not think of. The image is bad, not the server.
            LOGGER.exception("an image of %d bytes cannot be decoded", len(image))
            place.release()
            message = "expected an image, found data that cannot be decoded"
            return RefusalError(refusals.DAMAGED, "corrupt", message)
        self._batcher.measurements.measure_stage("decode", time.perf_counter() - started)
        try:
            return await self._batcher.caption(pixels, place)
        except RefusalError as refusal:
            return refusal
