"""One image, one reading: the job, training, evaluation and serving see the same pixels.

They agree bit for bit, and what they see is what the picture shows, which no reader computes.
"""

import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from captioning import image_file
from captioning.records_source import RecordsSource
from captioning.replica import Replica
from captioning.source import SourceImage
from pipeline.job.features import Extractor
from pixels import standard
from records.split_files import open_split
from tests.support.image_kinds import Kind, all_kinds
from tests.support.records import build, records, verify
from trainer.input import reading
from trainer.logs import samples

SIZE = 64
KINDS = all_kinds()
# The largest mean difference from what the picture shows: of files that lose nothing, of others.
EXACT, LOSSY = 0.6, 3.0
_LOSSY = ("jpg", "heic", "avif", "lossy.webp", "lossy-rgba.webp", "jpeg.tif", "lab.tif")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a file of every kind, and their list for a build."""
    folder = tmp_path_factory.mktemp("files")
    lines = []
    for name, kind in KINDS.items():
        (folder / name).write_bytes(kind.data)
        lines += [json.dumps({"image": name, "captions": ["a picture"]})]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def built(files, tmp_path_factory):
    """Records of all files."""
    out = tmp_path_factory.mktemp("records")
    build(dataset="jsonl", data_dir=files, output_dir=out, min_word_count=1, verify="decode")
    return out


@pytest.fixture(scope="module")
def stored(built) -> dict[str, SimpleNamespace]:
    """File name -> record."""
    return {record.file_name: record for record in records(built, "train")}


@pytest.fixture(scope="module")
def replica() -> Replica:
    """A replica as far as it decodes."""
    replica = object.__new__(Replica)
    replica._sides = [SIZE]
    return replica


def squashed(shows: np.ndarray, size: int = SIZE) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(shows))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), float)


def check_shows(pixels: np.ndarray, name: str, kind: Kind) -> None:
    difference = np.abs(pixels - squashed(kind.shows, len(pixels))).mean()
    assert difference < (LOSSY if name.endswith(_LOSSY) else EXACT), name


@pytest.fixture(scope="module")
def evaluated(built, replica) -> dict[str, np.ndarray]:
    """File name -> what the evaluation of a split decodes."""
    info, split_files = open_split(str(built), "train")
    source = RecordsSource(split_files, info, 8)
    images = [image for part in source.parts for image in source.read(part)]
    return {image.name: replica._decode(image)[SIZE] for image in images}


def test_every_kind_is_taken(stored):
    assert stored.keys() == KINDS.keys()
    assert len(KINDS) > 60


@pytest.mark.parametrize("name", KINDS)
def test_the_job_stores_what_the_picture_shows(name, stored, evaluated):
    check_shows(evaluated[name], name, KINDS[name])


def test_training_decodes_what_evaluation_decodes(built, stored, evaluated):
    _, split_files = open_split(str(built), "train")
    names = {record.image_id: name for name, record in stored.items()}
    seen = 0
    for batch in reading.batches_in_order(split_files, 16, SIZE):
        for image_id, pixels in zip(batch.image_ids.numpy(), batch.inputs.numpy(), strict=True):
            np.testing.assert_array_equal(pixels, evaluated[names[int(image_id)]])
            seen += 1
    assert seen == len(KINDS)


def test_serving_decodes_what_evaluation_decodes(files, replica, evaluated):
    for name, pixels in evaluated.items():
        served = replica._decode(SourceImage(str(files / name), None))[SIZE]
        np.testing.assert_array_equal(served, pixels, err_msg=name)


def test_features_are_computed_from_the_same_pixels(files, evaluated):
    network = SimpleNamespace(_network=SimpleNamespace(spec=SimpleNamespace(size=SIZE)))
    for name, kind in KINDS.items():
        pixels = Extractor._decode(network, standard.read(kind.data))
        np.testing.assert_array_equal(pixels, evaluated[name], err_msg=name)


def test_people_see_it_upright(files):
    for name, kind in KINDS.items():
        file = image_file.read(str(files / name))
        shown = image_file.picture(file.encoded, file.orientation, 48)
        height, width = kind.shows.shape[:2]
        upright = width > height
        assert (shown.width > shown.height) == upright and max(shown.size) == 48, name
        difference = np.abs(squashed(np.asarray(shown), 32) - squashed(kind.shows, 32)).mean()
        assert difference < 4, name


def test_samples_of_training_are_upright(built, stored, monkeypatch):
    monkeypatch.setattr(samples, "SHOWN", len(KINDS))
    _, split_files = open_split(str(built), "train")
    pictures = samples.first_pictures(split_files)
    for name, record in stored.items():
        check_shows(pictures[record.image_id], name, KINDS[name])


def test_resized_images_are_upright_rgb(files, tmp_path):
    build(dataset="jsonl", data_dir=files, output_dir=tmp_path, min_word_count=1, image_size=48)
    for record in records(tmp_path, "train"):
        name = record.file_name
        assert record.orientation == 1, name
        with Image.open(io.BytesIO(record.encoded)) as image:
            assert (image.format, image.mode, min(image.size)) == ("JPEG", "RGB", 48), name
            pixels = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), float)
        difference = np.abs(pixels - squashed(KINDS[name].shows, 32)).mean()
        assert difference < 4, name
    assert verify(tmp_path, "--decode") == 0


def test_what_is_right_stays_as_it_is(stored):
    """No byte of a JPEG or a plain PNG is changed; the rest is a PNG, or a JPEG if it was lossy."""
    for name, record in stored.items():
        kind = name.rpartition(".")[2]
        if kind == "jpg" or name in ("rgb.png", "grey.png", "turned.png", "animated.png"):
            assert record.encoded == KINDS[name].data, name
        lossy = kind in ("jpg", "heic", "avif") or name in ("lossy.webp", "lossy-rgba.webp")
        assert record.encoded.startswith(b"\xff\xd8" if lossy else b"\x89PNG"), name


def test_formats_are_counted_and_said(built, files, tmp_path, capsys):
    info, _ = open_split(str(built), "train")
    train = info.splits["train"]
    assert train.formats == {
        "AVIF": 3,
        "BMP": 7,
        "GIF": 3,
        "HEIC": 2,
        "JPEG": 17,
        "PNG": 14,
        "TIFF": 13,
        "WebP": 6,
    }
    assert train.reencoded == sum(train.formats.values()) - 17 - 4
    assert verify(built, "--decode") == 0
    assert verify(built, f"--data_dir={files}") == 0
    capsys.readouterr()
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    manifest = copy / "dataset_info.json"
    count = f'"reencoded": {train.shards[0].reencoded}'
    assert count in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(count, '"reencoded": 1'))
    assert verify(copy) == 1
    printed = capsys.readouterr().out
    assert "have other bytes than their files, dataset_info.json says 1" in printed
    assert "train: counts of formats differ from the shards'" in printed
