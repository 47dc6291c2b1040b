"""Data sets of TensorFlow Datasets, really prepared: coco_captions' features, and others."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cli.errors import UsageError, UserError
from records import canonical_json, shard_files
from records.schema import SCHEMA_VERSION
from tests.support.records import WORDS, build, checksums, jpeg, records, rejected, verify

ROOT = Path(__file__).parents[2]
ODD = ("A man  with\ta “hat” ", "e\u0301 🐕 not normalised.\n")
# As of TFDS's coco_captions, that cannot be downloaded here.
SPLITS = {"restval": (42, 73), "train": (9, 25, 30), "val": (133, 136), "test": (139, 196)}


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What the builders here share."""

    VERSION = tfds.core.Version("1.1.0")
    FEATURES: dict
    # TFDS would look both up by importlib_resources, which the project does not need.
    code_path, pkg_dir_path = Path(__file__), Path(__file__).parent

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(self.FEATURES)
        )

    def _generate_examples(self):
        raise NotImplementedError


class CocoCaptions(Tiny, skip_registration=True):
    BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="2014"),)
    FEATURES = {  # noqa: RUF012
        "image": tfds.features.Image(encoding_format="jpeg"),
        "image/filename": tfds.features.Text(),
        "image/id": np.int64,
        "objects": tfds.features.Sequence(
            {
                "id": np.int64,
                "area": np.int64,
                "bbox": tfds.features.BBoxFeature(),
                "label": tfds.features.ClassLabel(num_classes=80),
                "is_crowd": np.bool_,
            }
        ),
        "captions": tfds.features.Sequence({"text": np.str_, "id": np.int64}),
    }

    def _split_generators(self, _):
        return {split: self._examples(ids) for split, ids in SPLITS.items()}

    def _examples(self, ids):
        for image_id in ids:
            texts = ODD if image_id == 25 else WORDS
            yield (
                image_id,
                {
                    "image": io.BytesIO(png() if image_id == 196 else jpeg(image_id)),
                    "image/filename": f"COCO_{image_id:012d}.jpg",
                    "image/id": image_id,
                    "objects": [],
                    "captions": [{"text": t, "id": image_id + i} for i, t in enumerate(texts)],
                },
            )


class Plain(Tiny, skip_registration=True):
    """No ids, no names, captions without ids; TFDS's own name for val, and a split of no use."""

    FEATURES = {  # noqa: RUF012
        "image": tfds.features.Image(),
        "captions": tfds.features.Sequence(tfds.features.Text()),
    }

    def _split_generators(self, _):
        splits = enumerate(("train", "unlabelled", "validation"))
        return {split: self._examples(range(10 * i, 10 * i + 3)) for i, split in splits}

    def _examples(self, numbers):
        for number in numbers:
            yield number, {"image": io.BytesIO(jpeg(number)), "captions": [f"a dog {number}"]}


class Labels(Tiny, skip_registration=True):
    FEATURES = {"image": tfds.features.Image(), "label": np.int64}  # noqa: RUF012

    def _split_generators(self, _):
        return {"train": [(0, {"image": io.BytesIO(jpeg()), "label": 1})]}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """TFDS's data_dir with `coco_captions`, `plain` and `labels` in it; not to be changed."""
    path = tmp_path_factory.mktemp("tensorflow_datasets")
    tfds.disable_progress_bar()
    for builder in (CocoCaptions, Plain, Labels):
        builder(data_dir=path, file_format="array_record").download_and_prepare()
    return path


def build_tfds(name, data_dir, output_dir, **options):
    named = {"dataset": f"tfds:{name}", "data_dir": data_dir, "output_dir": output_dir}
    return build(**({"min_word_count": 1, "max_rejected_fraction": 0.5} | named | options))


def test_coco_captions(data_dir, tmp_path):
    out = tmp_path / "records"
    info = build_tfds("coco_captions", data_dir, out, verify="decode")
    found = {split: {r.image_id: r for r in records(out, split)} for split in info.splits}
    assert {split: set(ids) for split, ids in found.items()} == {
        "train": {9, 25, 30, 42, 73},  # restval is in it
        "val": {133, 136},
        "test": {139, 196},
    }
    for images in found.values():
        for image in images.values():
            made = png() if image.image_id == 196 else jpeg(image.image_id)
            assert image.encoded == made  # never decoded, never encoded anew
            assert image.file_name == f"COCO_{image.image_id:012d}.jpg"
            assert image.captions == (ODD if image.image_id == 25 else WORDS)
    assert not rejected(out)
    assert verify(out, "--decode") == 0


def test_a_shards_fingerprint_is_of_places_and_the_splits_size(data_dir, tmp_path):
    """Sizes of single images are not known; whoever changes this makes every user write again."""
    info = build_tfds("plain", data_dir, tmp_path / "records", val_shards=3)
    splits = tfds.builder_from_directory(data_dir / "plain" / "1.1.0").info.splits
    n_bytes = int(splits["validation"].num_bytes)
    versions = [SCHEMA_VERSION, shard_files.WRITER_VERSION]
    for index, image in enumerate(records(tmp_path / "records", "val")):
        name = f"val-{index:05d}-of-00003.tfrecord.json"
        sidecar = shard_files.Sidecar.from_bytes((tmp_path / "records" / name).read_bytes(), name)
        label = f"plain/1.1.0 validation[{image.image_id - 6}] of {n_bytes} bytes"
        content = [[image.image_id, image.file_name, label, list(image.captions), []]]
        assert sidecar.fingerprint == canonical_json.fingerprint(
            [versions, [0, 0, "header"], info.vocabulary_fingerprint, content]
        )


def test_a_config_and_a_version_may_be_named(data_dir, tmp_path):
    build_tfds("coco_captions", data_dir, tmp_path / "any")
    for place, name in enumerate(("coco_captions/2014:1.1.0", "coco_captions:1.1.0")):
        build_tfds(name, data_dir, tmp_path / str(place))
        assert checksums(tmp_path / "any") == checksums(tmp_path / str(place))


def test_without_tensorflow(data_dir, tmp_path):
    """The same shards from a process in which TensorFlow is not installed."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "finders = list(sys.meta_path)\n"
        "class NotInstalled:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'tensorflow':\n"
        "            return None\n"
        "        found = (finder.find_spec(name, path, target) for finder in finders)\n"
        "        return next((spec for spec in found if spec), None)\n"
        "sys.meta_path[:] = [NotInstalled()]\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    check = [sys.executable, "-c", "import tensorflow"]
    assert subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 1
    arguments = [
        "--dataset=tfds:coco_captions",
        f"--data_dir={data_dir}",
        f"--output_dir={tmp_path / 'records'}",
        "--min_word_count=1",
        "--max_rejected_fraction=0.5",
    ]
    command = [sys.executable, "-m", "pipeline.build_records", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    build_tfds("coco_captions", data_dir, tmp_path / "here")
    assert checksums(tmp_path / "records") == checksums(tmp_path / "here")


def test_what_has_no_ids_is_numbered(data_dir, tmp_path, capsys):
    out = tmp_path / "records"
    info = build_tfds("plain", data_dir, out)
    found = {split: {r.image_id: r for r in records(out, split)} for split in info.splits}
    # TFDS shuffles what it prepares; the nine examples of all three splits are numbered on.
    assert {split: set(ids) for split, ids in found.items()} == {
        "train": {0, 1, 2},
        "val": {6, 7, 8},
    }
    assert found["val"][7].file_name == "validation-000001.jpg"
    for image in (*found["train"].values(), *found["val"].values()):
        (caption,) = image.captions
        assert image.encoded == jpeg(int(caption.removeprefix("a dog ")))
    printed = capsys.readouterr().out
    assert "the split unlabelled is left out" in printed and "no test split in " in printed
    assert "all 6 examples are read once" in printed


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "coco_captions/2014:2.0.0",
            UserError,
            r"2014:2\.0\.0: not prepared in .*tensorflow_datasets0; to do so: python -c "
            r'"import .*tfds\.builder\(\'coco_captions/2014:2\.0\.0\', data_dir=\'.*\', '
            r"file_format=\'array_record\'\)\.download_and_prepare\(\)\"$",
        ),
        ("coco_captions/2017", UserError, "coco_captions/2017: not prepared in "),
        ("nothing_such", UserError, "nothing_such: not prepared in "),
        (
            "labels",
            UserError,
            r'labels/1\.1\.0: expected the features "image" .* found image: Image, label: ',
        ),
        ("", UsageError, "--dataset=tfds:: expected tfds:NAME, tfds:NAME/CONFIG or "),
        ("../secret", UsageError, r"--dataset=tfds:\.\./secret: expected tfds:NAME"),
        ("plain/../labels", UsageError, "expected tfds:NAME"),
    ],
)
def test_data_sets_that_cannot_be_read(data_dir, tmp_path, name, error, message):
    with pytest.raises(error, match=message) as caught:
        build_tfds(name, data_dir, tmp_path / "records")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "records").glob("*"))


@pytest.fixture
def copied(data_dir, tmp_path):
    """A data_dir to be changed, and where coco_captions lies in it."""
    shutil.copytree(data_dir, tmp_path / "copied")
    return tmp_path / "copied", tmp_path / "copied" / "coco_captions" / "2014" / "1.1.0"


def test_a_format_without_access_by_index(copied, tmp_path):
    path = copied[1] / "dataset_info.json"
    path.write_text(path.read_text().replace("array_record", "tfrecord"))
    message = (
        r"2014/1\.1\.0: prepared as tfrecord, which has no access by index; to convert it .*"
        r"python -m tensorflow_datasets\.scripts\.convert_format --dataset_version_dir=/"
    )
    with pytest.raises(UserError, match=message):
        build_tfds("coco_captions", copied[0], tmp_path / "records")


@pytest.mark.parametrize("split", ["train", "restval"])
def test_a_damaged_file_is_one_line(copied, tmp_path, split):
    path = copied[1] / f"coco_captions-{split}.array_record-00000-of-00001"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"2014/1\.1\.0: {split}\[0\]: cannot be read: Array"):
        build_tfds("coco_captions", copied[0], tmp_path / "records")
    (copied[1] / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="copied/coco_captions: cannot be read: Failed to load"):
        build_tfds("coco_captions", copied[0], tmp_path / "records")


def test_a_split_prepared_anew_is_written_anew(data_dir, copied, tmp_path, capsys):
    out = tmp_path / "records"
    build_tfds("coco_captions", data_dir, out)
    build_tfds("coco_captions", data_dir, out)
    assert "3 of 3 shards were finished before and kept" in capsys.readouterr().out
    path = copied[1] / "dataset_info.json"
    content = json.loads(path.read_text())
    (val,) = (split for split in content["splits"] if split["name"] == "val")
    val["numBytes"] = str(int(val["numBytes"]) + 1)
    path.write_text(json.dumps(content))
    build_tfds("coco_captions", copied[0], out)
    assert "2 of 3 shards were finished before and kept" in capsys.readouterr().out
