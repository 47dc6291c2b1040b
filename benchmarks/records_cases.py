"""What `benchmarks.records` measures: the job, the baselines it is held against, reading."""

import dataclasses
import io
import json
import os
import random
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import clock, serve

# COCO 2017 train, of which the metadata stages are measured at full size.
COCO_IMAGES, COCO_CAPTIONS = 118_287, 591_753
SHARDS = 8


def make_coco(folder: Path, n: int, with_images: bool = True) -> None:
    """Make a folder in COCO's layout: n train images of about 160 KB, captions as COCO has them.

    Its val split is one image, since the job wants a val split.
    """
    rng = random.Random(0)
    words = [f"word{rank}" for rank in range(30_000)]
    weights = np.cumsum(1 / np.arange(1, len(words) + 1)).tolist()
    images, captions = [], []
    for i in range(n):
        name = f"{i:012d}.jpg"
        url = f"http://images.cocodataset.org/train2017/{name}"
        images.append(
            {"id": i, "file_name": name, "coco_url": url, "flickr_url": url, "license": 1}
            | {"height": 480, "width": 640, "date_captured": "2013-11-14 16:28:13"}
        )
    for k in range(n * COCO_CAPTIONS // COCO_IMAGES):
        text = " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(8, 13)))
        text = text.capitalize() + ("." if rng.random() < 0.7 else "")
        captions.append({"id": k, "image_id": k % n, "caption": text})
    (folder / "annotations").mkdir(parents=True)
    bodies = [_jpeg(seed) for seed in range(32)] if with_images else [_jpeg(0)]
    val = [{"id": n, "file_name": "val.jpg"}], [{"id": 0, "image_id": n, "caption": "A word."}]
    for split, (listed, texts) in {"train": (images, captions), "val": val}.items():
        content = {"info": {}, "licenses": [], "images": listed, "annotations": texts}
        (folder / "annotations" / f"captions_{split}2017.json").write_text(json.dumps(content))
        (folder / f"{split}2017").mkdir()
    (folder / "val2017" / "val.jpg").write_bytes(bodies[0])
    for i in range(n if with_images else 0):
        # A comment segment makes every file's bytes its own.
        note = f"image {i:012d}".encode()
        comment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
        body = bodies[i % len(bodies)]
        (folder / "train2017" / f"{i:012d}.jpg").write_bytes(body[:2] + comment + body[2:])


def _jpeg(seed: int) -> bytes:
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + rng.normal(0, 14, smooth.shape).astype(np.int16)
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def write_job(
    data_dir: str,
    output_dir: str,
    flags: Mapping[str, Any] | None = None,
    beam_args: Sequence[str] = (),
) -> dict:
    """Measure the job itself.

    Args:
        data_dir: A folder that `make_coco` made.
        output_dir: Folder for the records; it is emptied first.
        flags: More flags of the build, such as {"verify": "decode"}.
        beam_args: Beam's options, which choose the worker processes.
    """
    import pipeline.engines.beam_log  # noqa: F401
    from pipeline.engines import runner
    from pipeline.prepare import prepared
    from records import manifest

    shutil.rmtree(output_dir, ignore_errors=True)
    result = {}
    more = {"train_shards": SHARDS} | dict(flags or {})
    with prepared(_build_flags(data_dir, output_dir, **more), beam_args) as config, clock(result):
        runner.run(config)
    return result | {"n": manifest.read_info(output_dir).splits["train"].total("images")}


def _build_flags(data_dir: str, output_dir: str, **flags):
    from pipeline.build_flags import BuildFlags

    return BuildFlags(dataset="coco2017", data_dir=data_dir, output_dir=output_dir, **flags)


def _examples(data_dir: str):
    """(file, captions, their ids) as a script does it: all captions, a Counter, a dict."""
    from records.text import tokenise
    from records.vocabulary import Vocabulary

    content = json.loads(Path(data_dir, "annotations", "captions_train2017.json").read_text())
    captions = defaultdict(list)
    for entry in content["annotations"]:
        captions[entry["image_id"]].append(entry["caption"])
    words = Counter(word for texts in captions.values() for t in texts for word in tokenise(t))
    vocabulary = Vocabulary.build(words, 5)
    for image in content["images"]:
        path = os.path.join(data_dir, "train2017", image["file_name"])
        texts = captions[image["id"]]
        yield image, path, texts, [vocabulary.encode(text) for text in texts]


def _serialised(image: dict, path: str, texts: list[str], ids: list[list[int]]) -> bytes:
    import tensorflow as tf

    from records import schema

    example = tf.train.SequenceExample()
    context, lists = example.context.feature, example.feature_lists.feature_list
    context[schema.IMAGE_ID].int64_list.value.append(image["id"])
    context[schema.FILE_NAME].bytes_list.value.append(image["file_name"].encode())
    context[schema.ENCODED].bytes_list.value.append(Path(path).read_bytes())
    for text, words in zip(texts, ids, strict=True):
        lists[schema.CAPTION_IDS].feature.add().int64_list.value.extend(words)
        lists[schema.CAPTION_TEXT].feature.add().bytes_list.value.append(text.encode())
    return example.SerializeToString()


def write_loop(data_dir: str, output_dir: str) -> dict:
    """A plain loop over tf.io.TFRecordWriter: no checks, no checksums, nothing to resume."""
    import tensorflow as tf

    shutil.rmtree(output_dir, ignore_errors=True)
    os.makedirs(output_dir)
    result, n = {}, 0
    with clock(result):
        paths = (f"{output_dir}/{i:05d}-of-{SHARDS:05d}.tfrecord" for i in range(SHARDS))
        writers = [tf.io.TFRecordWriter(path) for path in paths]
        for n, example in enumerate(_examples(data_dir), start=1):
            writers[n % SHARDS].write(_serialised(*example))
        for writer in writers:
            writer.close()
    return result | {"n": n}


def write_beam(data_dir: str, output_dir: str) -> dict:
    """Beam by the book: examples made, reshuffled, and given to WriteToTFRecord."""
    import apache_beam as beam
    import tensorflow as tf  # noqa: F401  imported before the clock starts
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    shutil.rmtree(output_dir, ignore_errors=True)
    result, n = {}, 0
    with clock(result):
        examples = list(_examples(data_dir))
        n = len(examples)
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            _ = (
                pipeline
                | beam.Create(examples)
                | beam.MapTuple(_serialised)
                | beam.Reshuffle()
                | beam.io.WriteToTFRecord(f"{output_dir}/train", num_shards=SHARDS)
            )
    return result | {"n": n}


def metadata_plain(data_dir: str) -> dict:
    """json.load, captions by image, a Counter of the words."""
    from records.text import tokenise

    result: dict = {}
    with clock(result):
        path = Path(data_dir, "annotations", "captions_train2017.json")
        captions, words = defaultdict(list), Counter()
        for entry in json.loads(path.read_text())["annotations"]:
            captions[entry["image_id"]].append(entry["caption"])
            words.update(tokenise(entry["caption"]))
    return result | {"n": sum(map(len, captions.values()))}


def metadata_job(data_dir: str) -> dict:
    """The job up to the shard writers: listed, described, counted, dealt, grouped."""
    import pipeline.engines.beam_log  # noqa: F401, I001
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipeline.job import graph
    from pipeline.prepare import prepared

    result: dict = {}
    build_flags = _build_flags(data_dir, data_dir + "/records")
    with prepared(build_flags) as config, clock(result):
        job = beam.Pipeline(runner=FnApiRunner())
        described = job | beam.Create(["train"]) | beam.ParDo(graph.Describe(config, None))
        vocabulary = beam.pvalue.AsSingleton(graph._vocabulary(job, described, config, None))
        grouped = described | beam.GroupByKey()
        _ = grouped | beam.Map(lambda shard, words: len(list(shard[1])) + len(words), vocabulary)
        job.run().wait_until_finish()
    return result | {"n": COCO_CAPTIONS}


def features(encoder: str, kind: str, images: int, data_dir: str) -> dict:
    """Features of JPEGs on one core: `predict` of Keras in float32, or the job's extractor.

    Random weights: they cost what trained ones do. Decoding counts in both.
    """
    import cli.tensorflow_log  # noqa: F401, I001
    import tensorflow as tf

    from model.encoder import Encoder, decode

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from pipeline.job.features import CPU_BATCH, Extractor

    network = Encoder(encoder)
    paths = sorted(Path(data_dir, "train2017").iterdir())[:images]
    encoded = [path.read_bytes() for path in paths]
    if kind == "predict":
        side = network.spec.size

        def compute(jpegs: list[bytes]) -> np.ndarray:
            pixels = np.stack([decode(tf.constant(jpeg), side).numpy() for jpeg in jpegs])
            prepared = network.spec.preprocess(tf.constant(pixels))
            return network.network.predict(prepared, batch_size=CPU_BATCH, verbose=0)
    else:
        compute = Extractor(network, kind)
    compute(encoded[:CPU_BATCH])  # traced and compiled
    result: dict = {}
    with clock(result):
        compute(encoded)
    return result | {"n": len(encoded)}


def build(data_dir: str, output_dir: str, flags: Mapping[str, Any]) -> dict:
    """Build records once, for others to read."""
    return write_job(data_dir, output_dir, flags)


def read(records_dir: str) -> dict:
    """One epoch as the trainer reads it: pairs, with pixels or features."""
    import cli.tensorflow_log  # noqa: F401, I001

    from records.split_files import open_split
    from trainer.input import reading

    info, split_files = open_split(records_dir, "train")
    if info.encoder:
        split_files = dataclasses.replace(split_files, grid=info.encoder.grid)
    result, pairs = {}, 0
    with clock(result):
        batches = reading.batches_in_order(split_files, 32, 224)
        for batch in reading.iterate(batches, split_files):
            pairs += int(np.any(batch.ids.numpy() != 0, -1).sum())
    return result | {"n": pairs}


def training(records_dir: str, encoder: str, steps: int) -> dict:
    """Steps of the trainer, nothing cached: from images, the encoder runs in each of them.

    Returns: seconds of `steps` steps of the median length, so that no compilation is in them, and
        the median number of cores that a step keeps busy.
    """
    import cli.tensorflow_log  # noqa: F401, I001

    from artifacts import restore
    from artifacts.recipe import Recipe
    from records.manifest import read_vocabulary
    from records.split_files import open_split
    from trainer.input.batches import TrainingBatches
    from trainer.open_run import adopt_stored_encoder, choose_inputs, repeat_random_weights
    from trainer.optimizer import build_optimizer
    from trainer.step import build_step

    given = {"encoder": encoder, "encoder_weights": "random"}
    recipe = Recipe(
        records_dir=records_dir,
        run_dir=f"{records_dir}/none",
        precision="bfloat16",
        cache_memory_mb=0,
        **given,
    )
    info, train = open_split(records_dir, "train")
    config = adopt_stored_encoder(recipe, given, info)
    model = config.model(len(read_vocabulary(records_dir)))
    captioner = restore.build(model, config.encoder_weights)
    repeat_random_weights(captioner, config, info)
    train = choose_inputs(train, info, captioner)
    step = build_step(config, captioner, build_optimizer(config, steps))
    batches = TrainingBatches(config, train, captioner, cached=False)
    seconds, cores = [], []
    while len(seconds) < steps:
        began, busy = time.perf_counter(), time.process_time()
        for batch in batches.epoch(0):
            _ = {k: float(v) for k, v in step(batch.inputs, batch.ids).items()}
            seconds.append(time.perf_counter() - began)
            cores.append((time.process_time() - busy) / seconds[-1])
            began, busy = time.perf_counter(), time.process_time()
            if len(seconds) == steps:
                break
    rest = {"n": steps * config.batch_size, "cores": float(np.median(cores))}
    return {"seconds": steps * float(np.median(seconds))} | rest


if __name__ == "__main__":
    cases = (write_job, write_loop, write_beam, metadata_plain, metadata_job, features, build)
    serve({case.__name__: case for case in (*cases, read, training)})
