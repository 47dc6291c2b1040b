"""A caption with the heat of each word, drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

TILES = 8  # in a row
_TILE_INCHES = 1.6


class Look(NamedTuple):
    """One image, its caption, and where each word looked."""

    pixels: np.ndarray  # [H, W, 3] uint8
    caption: str
    words: Sequence[str]  # T
    attention: np.ndarray  # [T, grid height, grid width]


def draw(path: str, looks: Sequence[Look]) -> None:
    """Write a PNG: for each image its caption, the image itself, then a tile for each word.

    Bright is where the word looked; each tile is scaled to its own highest weight.

    Raises:
        OSError: it cannot be written.
    """
    rows = [-(-(1 + len(look.words)) // TILES) for look in looks]
    figure = plt.figure(
        figsize=(TILES * _TILE_INCHES, sum(rows) * _TILE_INCHES * 1.18 + len(looks) * 0.4),
        layout="constrained",
    )
    blocks = figure.subfigures(len(looks), 1, height_ratios=rows, squeeze=False)[:, 0]
    for block, look, n_rows in zip(blocks, looks, rows, strict=True):
        block.suptitle(look.caption, x=0.01, ha="left", fontsize=13, weight="bold")
        axes = block.subplots(n_rows, TILES, squeeze=False).ravel()
        for axis in axes:
            axis.axis("off")
        axes[0].imshow(look.pixels)
        for axis, word, heat in zip(axes[1:], look.words, look.attention, strict=False):
            _tile(axis, look.pixels, word, heat)
    try:
        figure.savefig(path, dpi=110, format="png")
    finally:
        plt.close(figure)


def _tile(axis, pixels: np.ndarray, word: str, heat: np.ndarray) -> None:
    height, width = pixels.shape[:2]
    extent = (0, width, height, 0)
    axis.imshow(pixels.mean(-1), cmap="gray", extent=extent)
    axis.imshow(
        heat / max(heat.max(), 1e-9),
        cmap="inferno",
        alpha=0.6,
        extent=extent,
        interpolation="bicubic",
        vmin=0,
        vmax=1,
    )
    axis.set_title(word, fontsize=10)
