"""The scenes' folder: COCO 2017's layout, the same bytes everywhere, there whole or not at all."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.errors import UserError
from scenes import dataset
from scenes.captions import captions
from scenes.drawing import jpeg
from scenes.world import SIDE, truth

ROOT = Path(__file__).resolve().parents[2]


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_bytes_from_every_process(tmp_path):
    for hash_seed in ("1", "2"):
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"from scenes.dataset import write; write({str(tmp_path / hash_seed)!r}, 60, 7)",
            ],
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
    first, second = files_of(tmp_path / "1"), files_of(tmp_path / "2")
    assert len(first) == 60 + 3 + 1
    assert first == second


def test_folder_is_coco_2017(tmp_path):
    assert dataset.write(tmp_path / "new" / "scenes", 40, 3)
    folder = tmp_path / "new" / "scenes"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["scenes"]
    world = truth(40, 3)
    caption_ids = []
    for split, count in {"train": 32, "val": 4, "test": 4}.items():
        written = json.loads((folder / "annotations" / f"captions_{split}2017.json").read_text())
        assert set(written) == {"info", "licenses", "images", "annotations"}
        assert len(written["images"]) == count
        for image in written["images"]:
            scene = world[image["id"]]
            assert scene.split == split
            assert image["file_name"] == f"{image['id']:012d}.jpg"
            assert (image["height"], image["width"]) == (SIDE, SIDE)
            assert (folder / f"{split}2017" / image["file_name"]).read_bytes() == jpeg(scene)
            mine = [a for a in written["annotations"] if a["image_id"] == image["id"]]
            assert [a["caption"] for a in mine] == captions(scene)
            caption_ids += [a["id"] for a in mine]
    assert len(set(caption_ids)) == 40 * 5


def test_folder_is_used_again_or_made_anew(tmp_path):
    folder = tmp_path / "scenes"
    assert dataset.write(folder, 20, 1)
    made = (folder / "scenes.json").stat().st_mtime_ns
    assert not dataset.write(folder, 20, 1)
    assert (folder / "scenes.json").stat().st_mtime_ns == made
    before = files_of(folder)
    assert dataset.write(folder, 20, 2)
    assert files_of(folder) != before
    assert dataset.write(folder, 30, 2)
    assert len(files_of(folder)) == 30 + 3 + 1
    next((folder / "train2017").iterdir()).unlink()
    assert dataset.write(folder, 30, 2)
    assert len(files_of(folder)) == 30 + 3 + 1
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_half_written_is_never_taken_for_whole(tmp_path, monkeypatch):
    folder = tmp_path / "scenes"
    drawn = []

    def killed(scene):
        drawn.append(scene)
        if len(drawn) == 7:
            raise KeyboardInterrupt
        return jpeg(scene)

    monkeypatch.setattr(dataset, "jpeg", killed)
    with pytest.raises(KeyboardInterrupt):
        dataset.write(folder, 20, 1)
    assert not folder.exists()
    monkeypatch.undo()
    # What kill -9 leaves lies beside.
    (tmp_path / ".tmp-0123456789abcdef0123456789abcdef").mkdir()
    assert dataset.write(folder, 20, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_what_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="/file: expected a folder for the scenes, found a file"):
        dataset.write(tmp_path / "file", 20, 1)
    with pytest.raises(UserError, match="/file: expected a folder for the scenes, found a file"):
        dataset.write(tmp_path / "file" / "scenes", 20, 1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("mine")
    with pytest.raises(UserError, match="holds other files than scenes"):
        dataset.write(tmp_path / "photos", 20, 1)
    assert (tmp_path / "photos" / "me.jpg").read_text() == "mine"

    def full(scene):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset, "jpeg", full)
    with pytest.raises(UserError, match="No space left on device") as caught:
        dataset.write(tmp_path / "scenes", 20, 1)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photos"]
