"""What an encoder takes of memory while it is trained, said before it is."""

import sys

import numpy as np

from artifacts.recipe import Recipe
from cli import memory
from cli.errors import UsageError
from model.captioner import Captioner
from model.encoder import Encoder

_FLOAT = 4  # bytes; the encoder computes in float32, whatever --precision says
_COPIES = 4  # of each weight: itself, its gradient and Adam's two moments


def require_memory(recipe: Recipe, captioner: Captioner, replicas: int) -> None:
    """Print what training the encoder takes; warn, or refuse to begin, where it does not fit.

    The estimate is that of TensorFlow's own operations. XLA, which compiles for GPUs, may keep
    less, and a GPU that is full says so; so only what no memory of a CPU's machine can hold is
    refused.

    Args:
        recipe: The recipe.
        captioner: What is trained.
        replicas: Devices that share a batch.

    Raises:
        UsageError: The memory of the machine is too small.
    """
    if not recipe.encoder_trainable:
        return
    encoder = captioner.encoder
    share = -(-recipe.batch_size // replicas)
    at_once = -(-share // recipe.accumulate_steps)
    total = memory.gpu_bytes() if captioner.plain else memory.total_bytes()
    free = total if captioner.plain else memory.available_bytes()
    needed = encoder_bytes(encoder, at_once)
    images = f"{at_once} image{'s'[: at_once > 1]} at once"
    line = f"training {recipe.encoder} takes about {_gb(needed)}: {images}, in float32"
    if total is None or free is None:
        print(line)
        return
    line += f"; {'the GPU' if captioner.plain else 'the machine'} has {_gb(total)}"
    line += "" if captioner.plain else f", {_gb(free)} of it free"
    if needed <= free:
        print(line)
        return
    remedy = _remedy(encoder, share, free)
    if needed > total and not captioner.plain:
        raise UsageError(f"--encoder_trainable: {line}; {remedy}")
    print(f"warning: {line}; {remedy}", file=sys.stderr)


def encoder_bytes(encoder: Encoder, images: int) -> int:
    """Estimate the memory that a training step takes for its encoder.

    The backward pass needs the output of every layer.

    Args:
        encoder: The encoder.
        images: How many go through it at once.
    """
    layers = encoder.network.layers
    activations = sum(int(np.prod(layer.output.shape[1:])) for layer in layers)
    return _FLOAT * (activations * images + _COPIES * encoder.network.count_params())


def _remedy(encoder: Encoder, images: int, free: int) -> str:
    """Return what to do, so that the images of a step fit."""
    for pieces in range(2, images + 1):
        needed = encoder_bytes(encoder, -(-images // pieces))
        if needed <= free:
            return f"give --accumulate_steps={pieces}, which takes {_gb(needed)}"
    return "not even one image at a time fits; give a smaller --encoder, or --noencoder_trainable"


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
