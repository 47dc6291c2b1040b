"""The manifest says which pictures lie in each split."""

import hashlib

import pytest
from pipeline_support import CocoFolder, build_coco, records


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "coco")


def hashes(folder: CocoFolder, split: str) -> dict[int, str]:
    """Image id -> the first 16 hex digits of its file's sha256."""
    return {
        entry["id"]: hashlib.sha256(
            (folder.path / f"{split}2017" / entry["file_name"]).read_bytes()
        ).hexdigest()[:16]
        for entry in folder.images[split]
    }


@pytest.mark.parametrize("options", [{}, {"image_size": 16}, {"captions_per_record": 1}])
def test_contents_are_the_ids_and_the_hashes_of_the_files_as_they_lie(folder, tmp_path, options):
    folder.add("train", 77, b"no JPEG")  # left out of the shard, so of its contents too
    folder.write()
    out = tmp_path / "records"
    info = build_coco(folder, out, max_rejected_fraction=0.5, **options)
    assert info.ids == "coco"
    listed = hashes(folder, "train")
    del listed[77]
    assert info.splits["train"].contents == listed
    written = list(dict.fromkeys(image.image_id for image in records(out, "train")))
    assert list(info.splits["train"].contents) == written
