"""Part 3: the training step, ours and the textbook's, on the device that is there."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import train_work as work
from benchmarks.gpu.measure import add_row, timed


def ours(size: str, images: int, precision: str, plain: bool, recipe: bool = True) -> None:
    """Time our training step.

    Args:
        size: a key of `train_work.SIZES`.
        images: in a batch.
        precision: of the products, "float32" or "bfloat16".
        plain: run the definition under whole-step XLA; else the formulation for CPUs.
        recipe: train our recipe's model; else the textbook's.
    """
    import cli.start_tensorflow  # noqa: F401, I001, before TensorFlow
    import tensorflow as tf

    from artifacts.recipe import Recipe
    from benchmarks.train_cases import FeaturesOnly
    from captioning.devices import devices
    from model.definition.decoder import Decoder
    from trainer.optimizer import build_optimizer
    from trainer.step import build_step

    gpu = ":GPU:" in devices()[0]
    training = Recipe(
        learning_rate=4e-4, warmup_steps=0, dropout=0.5, doubly_stochastic=0.01,
        l2=1e-6 if recipe else 0.0,
    )  # fmt: skip
    decoder = Decoder(work.decoder_config(size, recipe, precision))
    captioner: Any = FeaturesOnly(decoder, plain)
    optimizer = build_optimizer(training, 100_000)
    optimizer.build(captioner.trainable_variables)
    step = build_step(training, captioner, optimizer)
    batch = work.batch(size, images=images)
    features, ids = tf.constant(batch.features), tf.constant(batch.ids)
    losses: list[float] = []
    found = timed(lambda: losses.append(float(step(features, ids)["total"])))
    if gpu:
        found["peak_mb"] = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6
    how = "whole-step XLA" if plain else "formulation for CPUs"
    name = f"ours {precision}, {how}" + ("" if recipe else ", textbook's model")
    _add(name, size, batch, found, losses)


def textbook(size: str, images: int, variant: str, captions: int | None = None) -> None:
    """Time the training step of the tutorial's decoder in PyTorch.

    Args:
        size: a key of `train_work.SIZES`.
        images: in a batch.
        variant: "float32", "autocast", "compiled", "compiled autocast" or "graphs autocast", the
            last with `mode="reduce-overhead"`.
        captions: rows of the batch; None: 5 for each image.
    """
    import torch

    from benchmarks.textbook import Decoder, Trainer

    torch.manual_seed(1)
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    batch = work.batch(size, images=images)
    decoder = Decoder(work.VOCABULARY, work.SIZES[size][2], work.UNITS).to(device)
    if "compiled" in variant:
        decoder.compile()
    if "graphs" in variant:
        decoder.compile(mode="reduce-overhead")
    trainer = Trainer(decoder, "bfloat16" if "autocast" in variant else "float32")
    features = np.repeat(batch.features.astype(np.float32), work.CAPTIONS, 0)[:captions]
    rows = batch.ids.reshape(-1, batch.ids.shape[-1]).astype(np.int64)[:captions]
    batch = work.Batch(features, rows[:, None])
    lengths = torch.from_numpy((rows != 0).sum(1)).to(device)
    tensors = torch.from_numpy(features).to(device), torch.from_numpy(rows).to(device), lengths
    losses: list[float] = []
    found = timed(lambda: losses.append(trainer.step(*tensors)))
    if gpu:
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
    _add(f"PyTorch textbook {variant}", size, batch, found, losses)


def _add(
    name: str, size: str, batch: work.Batch, found: dict[str, float], losses: list[float]
) -> None:
    captions = batch.ids.shape[0] * batch.ids.shape[1]
    rate = {"captions_per_s": 1e3 * captions / found["ms"]}
    learned = {"loss_first": losses[0], "loss_last": losses[-1], "steps": len(losses)}
    add_row(f"{size}, {captions} captions: {name}", **rate, **found, **learned)
