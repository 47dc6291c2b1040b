"""What the records job is measured against: a plain loop, and Beam used as its guides show."""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import clock

SHARDS = 8


Example = tuple[dict[str, Any], str, list[str], list[list[int]]]


def _examples(data_dir: str) -> Iterator[Example]:
    """Yield (image entry, path, captions, their ids) as a plain script would find them."""
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


def _serialised(image: dict[str, Any], path: str, texts: list[str], ids: list[list[int]]) -> bytes:
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


def write_loop(data_dir: str, output_dir: str) -> dict[str, Any]:
    """Measure a plain loop over tf.io.TFRecordWriter.

    It checks nothing, writes no checksums, and cannot resume.

    Args:
        data_dir: a folder that `make_coco_folder` made.
        output_dir: folder for the records; it is emptied first.
    """
    import tensorflow as tf

    shutil.rmtree(output_dir, ignore_errors=True)
    os.makedirs(output_dir)
    result: dict[str, Any] = {}
    n = 0
    with clock(result):
        paths = (f"{output_dir}/{i:05d}-of-{SHARDS:05d}.tfrecord" for i in range(SHARDS))
        writers = [tf.io.TFRecordWriter(path) for path in paths]
        for n, example in enumerate(_examples(data_dir), start=1):
            writers[n % SHARDS].write(_serialised(*example))
        for writer in writers:
            writer.close()
    return result | {"n": n}


def write_beam(data_dir: str, output_dir: str) -> dict[str, Any]:
    """Measure Beam as its guides show it: create examples, reshuffle, WriteToTFRecord.

    Args:
        data_dir: a folder that `make_coco_folder` made.
        output_dir: folder for the records; it is emptied first.
    """
    import apache_beam as beam
    import tensorflow as tf  # noqa: F401  imported before the clock starts
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    shutil.rmtree(output_dir, ignore_errors=True)
    result: dict[str, Any] = {}
    n = 0
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


def metadata_plain(data_dir: str) -> dict[str, Any]:
    """Measure json.load, grouping captions by image, and counting words in a Counter.

    Args:
        data_dir: a folder that `make_coco_folder` made.
    """
    from records.text import tokenise

    result: dict[str, Any] = {}
    with clock(result):
        path = Path(data_dir, "annotations", "captions_train2017.json")
        captions: dict[int, list[str]] = defaultdict(list)
        words: Counter[str] = Counter()
        for entry in json.loads(path.read_text())["annotations"]:
            captions[entry["image_id"]].append(entry["caption"])
            words.update(tokenise(entry["caption"]))
    return result | {"n": sum(map(len, captions.values()))}
