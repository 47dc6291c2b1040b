"""Builds from files of any format: what is left out, what a rerun takes, what the manifest says."""

import json

import pytest
from PIL import Image

from cli.errors import UserError
from pixels import pillow
from tests.support.image_kinds import picture, saved
from tests.support.records import build, jpeg, records


@pytest.fixture
def folder(tmp_path):
    """A list of a JPEG and a HEIC."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(jpeg())
    (folder / "1.heic").write_bytes(saved(Image.fromarray(picture()), "HEIF"))
    lines = [json.dumps({"image": name, "captions": ["a dog"]}) for name in ("0.jpg", "1.heic")]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def test_heic_is_read_as_soon_as_its_plugin_is_there(folder, tmp_path, monkeypatch):
    flags = {"dataset": "jsonl", "data_dir": folder, "output_dir": tmp_path / "out"}
    flags["min_word_count"] = 1
    with monkeypatch.context() as patched:
        patched.setattr(pillow, "reads_heic", lambda: False)
        with pytest.raises(UserError, match=r"heif_not_installed 1; for HEIC run `pip install \."):
            build(**flags)
        build(**flags, max_rejected_fraction=0.5)
        assert len(records(tmp_path / "out", "train")) == 1
    info = build(**flags)
    assert len(records(tmp_path / "out", "train")) == 2
    assert info.splits["train"].formats == {"HEIC": 1, "JPEG": 1}
    assert info.splits["train"].reencoded == 1 and info.splits["train"].rejected == {}


def test_formats_are_said_where_they_are_not_jpeg_alone(folder, tmp_path, capsys):
    flags = {"dataset": "jsonl", "data_dir": folder, "min_word_count": 1}
    build(**flags, output_dir=tmp_path / "out")
    printed = capsys.readouterr().out
    assert "train: the images' files are 1 HEIC, 1 JPEG; 1 are re-encoded" in printed
    (folder / "1.heic").write_bytes(jpeg(1))
    build(**flags, output_dir=tmp_path / "plain")
    assert "the images' files" not in capsys.readouterr().out


def test_records_of_another_schema_are_refused_in_one_line(folder, tmp_path):
    from records import manifest

    build(dataset="jsonl", data_dir=folder, output_dir=tmp_path / "out", min_word_count=1)
    path = tmp_path / "out" / "dataset_info.json"
    path.write_text(path.read_text().replace('"schema_version": 5', '"schema_version": 4'))
    with pytest.raises(UserError, match=r"schema version 4, this program reads 5; build the rec"):
        manifest.read_info(str(tmp_path / "out"))
