"""From a loaded runtime to a server that may take requests: warm, and as its bundle says."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cli.errors import UserError
from serving.bundle import golden
from serving.bundle.layout import GOLDEN, Bundle
from serving.bundle.runtime import Runtime
from serving.web.batching import batch_sizes
from serving.web.refusals import RefusalError
from serving.web.service import Service

_REMEDY = "this machine does not caption as the bundle was verified to: export it again here"


def warm(runtime: Runtime, size: int, most: int) -> None:
    """Let a runtime compute a batch of each size once: the first of each is slow.

    Args:
        runtime: Computes captions.
        size: Pixels of a side of an image.
        most: Images of the largest batch.
    """
    with ThreadPoolExecutor(runtime.parallel) as pool:  # Each of its interpreters, too.
        for images in batch_sizes(runtime, most):
            batches = [np.zeros((images, size, size, 3), np.float32)] * runtime.parallel
            list(pool.map(runtime.caption, batches))


async def check_golden(service: Service, bundle: Bundle, runtime: str) -> None:
    """Caption the golden images as those of a client, and compare.

    Args:
        service: It has started.
        bundle: Its golden images say what they must get.
        runtime: The runtime's name.

    Raises:
        UserError: An image gets other captions, or none.
    """
    images = bundle.golden()
    if not images:
        raise UserError(f"{bundle.path}: it has no golden images to check; export it again")
    for start in range(0, len(images), service.limits.images):
        group = images[start : start + service.limits.images]
        paths = [bundle.inside(f"{GOLDEN}/{image.file}") for image in group]
        try:
            outcomes = await service.captioner.caption(
                [bundle.golden_bytes(image) for image in group]
            )
        except RefusalError as refusal:
            raise UserError(f"{paths[0]}: {refusal.message}: raise --deadline_s") from None
        for path, image, outcome in zip(paths, group, outcomes, strict=True):
            problem = (
                outcome.message
                if isinstance(outcome, RefusalError)
                else golden.difference(image.expected(runtime), outcome)
            )
            if problem:
                raise UserError(f"{path}: {problem}; {_REMEDY}")
