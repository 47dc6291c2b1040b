"""The cases that `benchmarks.records` measures, each in a process of its own."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.coco_folder import COCO_CAPTIONS
from benchmarks.measure import clock, serve
from benchmarks.records_baselines import SHARDS, metadata_plain, write_beam, write_loop
from pixels import standard
from pixels.standard import StandardImage

if TYPE_CHECKING:
    from pipeline.build_flags import BuildFlags
    from trainer.input.batches import TrainingBatches
    from trainer.step import TrainingStep


def write_job(
    data_dir: str,
    output_dir: str,
    flags: Mapping[str, Any] | None = None,
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure the job itself.

    Args:
        data_dir: a folder that `make_coco_folder` made.
        output_dir: folder for the records; it is emptied first.
        flags: more flags of the build, such as {"verify": "decode"}.
        beam_args: Beam's options, which choose the worker processes.
    """
    import pipeline.engines.beam_log  # noqa: F401
    from pipeline.engines import runner
    from pipeline.prepare import prepared
    from records import manifest

    shutil.rmtree(output_dir, ignore_errors=True)
    result: dict[str, Any] = {}
    more = {"train_shards": SHARDS} | dict(flags or {})
    with prepared(_build_flags(data_dir, output_dir, **more), beam_args) as config, clock(result):
        runner.run(config)
    return result | {"n": manifest.read_info(output_dir).splits["train"].total("images")}


def _build_flags(data_dir: str, output_dir: str, **flags: Any) -> "BuildFlags":
    from pipeline.build_flags import BuildFlags

    return BuildFlags(dataset="coco2017", data_dir=data_dir, output_dir=output_dir, **flags)


def metadata_job(data_dir: str) -> dict[str, Any]:
    """Measure the job up to its shard writers: list, describe, count words, group by shard.

    Args:
        data_dir: a folder that `make_coco_folder` made.
    """
    import pipeline.engines.beam_log  # noqa: F401, I001
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipeline.job import graph
    from pipeline.prepare import prepared

    result: dict[str, Any] = {}
    build_flags = _build_flags(data_dir, data_dir + "/records")
    with prepared(build_flags) as config, clock(result):
        job = beam.Pipeline(runner=FnApiRunner())
        described = job | beam.Create(["train"]) | beam.ParDo(graph.Describe(config, None))
        vocabulary = beam.pvalue.AsSingleton(graph._vocabulary(job, described, config, None))
        grouped = described | beam.GroupByKey()
        _ = grouped | beam.Map(lambda shard, words: len(list(shard[1])) + len(words), vocabulary)
        job.run().wait_until_finish()
    return result | {"n": COCO_CAPTIONS}


def features(encoder: str, kind: str, images: int, data_dir: str) -> dict[str, Any]:
    """Measure the features of JPEGs on one core, decoding included.

    The weights are random; they cost as much as trained ones.

    Args:
        encoder: a key of `model.encoder.ENCODERS`.
        kind: "predict" for Keras' `predict` in float32; else the precision of the job's extractor.
        images: how many.
        data_dir: a folder that `make_coco_folder` made.
    """
    import cli.start_tensorflow  # noqa: F401, I001
    import tensorflow as tf

    from model.decoding import decode
    from model.encoder import Encoder

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from pipeline.job.features import CPU_BATCH, Extractor

    network = Encoder(encoder)
    paths = sorted(Path(data_dir, "train2017").iterdir())[:images]
    encoded = [standard.read(path.read_bytes()) for path in paths]
    compute: Callable[[list[StandardImage]], Sequence[np.ndarray | None]]
    if kind == "predict":
        side = network.spec.size

        def compute(images: list[StandardImage]) -> Sequence[np.ndarray | None]:
            decoded = [decode(image.encoded, image.orientation, side) for image in images]
            pixels = np.stack([image.numpy() for image in decoded])
            prepared = network.spec.preprocess(tf.constant(pixels))
            return network.network.predict(prepared, batch_size=CPU_BATCH, verbose=0)
    else:
        compute = Extractor(network, kind)
    compute(encoded[:CPU_BATCH])  # traces and compiles
    result: dict[str, Any] = {}
    with clock(result):
        compute(encoded)
    return result | {"n": len(encoded)}


def build(data_dir: str, output_dir: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Build records once, for other cases to read."""
    return write_job(data_dir, output_dir, flags)


def read(records_dir: str) -> dict[str, Any]:
    """Measure one epoch as the trainer reads it; what is counted are pairs.

    Args:
        records_dir: of records with images or with features.
    """
    import cli.start_tensorflow  # noqa: F401, I001

    from records.split_files import open_split
    from trainer.input import reading

    info, split_files = open_split(records_dir, "train")
    if info.encoder:
        split_files = dataclasses.replace(split_files, grid=info.encoder.grid)
    result: dict[str, Any] = {}
    pairs = 0
    with clock(result):
        batches = reading.batches_in_order(split_files, 32, 224)
        for batch in reading.iterate(batches, split_files):
            pairs += int(np.any(batch.ids.numpy() != 0, -1).sum())
    return result | {"n": pairs}


def training(records_dir: str, encoder: str, steps: int) -> dict[str, Any]:
    """Measure steps of the trainer without a cache: from images, every step runs the encoder.

    Args:
        records_dir: of records with images or with features.
        encoder: the encoder of the features.
        steps: how many.

    Returns:
        The seconds of `steps` steps of the median length, which leaves compilation out, and the
        median number of cores that a step keeps busy.
    """
    step, batches, batch_size = _training(records_dir, encoder, steps)
    seconds: list[float] = []
    cores: list[float] = []
    while len(seconds) < steps:
        began, busy = time.perf_counter(), time.process_time()
        for batch in batches.epoch(0):
            _ = {k: float(v) for k, v in step(batch.inputs, batch.ids).items()}
            seconds.append(time.perf_counter() - began)
            cores.append((time.process_time() - busy) / seconds[-1])
            began, busy = time.perf_counter(), time.process_time()
            if len(seconds) == steps:
                break
    return {
        "seconds": steps * float(np.median(seconds)),
        "n": steps * batch_size,
        "cores": float(np.median(cores)),
    }


def _training(
    records_dir: str, encoder: str, steps: int
) -> tuple["TrainingStep", "TrainingBatches", int]:
    """Return the trainer's step, its batches, and the images of one."""
    import cli.start_tensorflow  # noqa: F401, I001

    from artifacts import restore
    from artifacts.recipe import Recipe
    from records.manifest import read_vocabulary
    from records.split_files import open_split
    from trainer.input.batches import TrainingBatches
    from trainer.opening.inputs import adopt_stored_encoder, choose_inputs, repeat_random_weights
    from trainer.optimizer import build_optimizer
    from trainer.step import build_step

    flags = {"encoder": encoder, "encoder_weights": "random"}
    recipe = Recipe(
        records_dir=records_dir,
        run_dir=f"{records_dir}/none",
        precision="bfloat16",
        cache_memory_mb=0,
        **flags,
    )
    info, train = open_split(records_dir, "train")
    config = adopt_stored_encoder(recipe, flags, info)
    model = config.model(len(read_vocabulary(records_dir)))
    captioner = restore.build(model, config.encoder_weights)
    repeat_random_weights(captioner, config, info)
    train = choose_inputs(train, info, captioner)
    step = build_step(config, captioner, build_optimizer(config, steps))
    batches = TrainingBatches(config, train, captioner, cached=False)
    return step, batches, config.batch_size


if __name__ == "__main__":
    cases = (write_job, write_loop, write_beam, metadata_plain, metadata_job, features, build)
    serve({case.__name__: case for case in (*cases, read, training)})
