"""Real photographs, where there are any: CAPTION_DATA names a folder that holds coco2017/."""

import os
from pathlib import Path

import pytest

from tests.support.records import build, records, verify


@pytest.fixture
def data():
    folder = os.environ.get("CAPTION_DATA")
    if not folder:
        pytest.skip("CAPTION_DATA is not set: the folder that holds coco2017/ and flickr8k/")
    return Path(folder)


@pytest.mark.parametrize("captions_per_record", [0, 1])
def test_coco(data, tmp_path, captions_per_record):
    info = build(
        dataset="coco2017",
        data_dir=data / "coco2017",
        output_dir=tmp_path,
        captions_per_record=captions_per_record,
        verify="decode",
    )
    assert verify(tmp_path, "--decode") == 0
    for split in ("train", "val"):
        left_out = info.splits[split].rejected
        assert set(left_out) <= {"long_caption"}
        folder = data / "coco2017" / f"{split}2017"
        for image in records(tmp_path, split):
            assert image.encoded == (folder / image.file_name).read_bytes()
