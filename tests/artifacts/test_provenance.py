"""Scores of images that a run was trained on are refused, or say so wherever they stand."""

import contextlib
import dataclasses
import io
import json
import re
import shutil

import pytest
from PIL import Image
from pycocotools.coco import COCO

from artifacts.provenance import TrainedOn, find_contamination
from records import leaks, manifest
from tests.support.commands import one_error
from tests.support.records import CocoFolder, build, build_coco, jpeg
from tests.support.training import events, run_evaluate, train

pytestmark = pytest.mark.usefixtures("without_meteor", "kept_replicas")


def pictures(*numbers: int, size: int = 40) -> dict[int, bytes]:
    return {number: jpeg(number, (size, size)) for number in numbers}


def smaller(data: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((20, 20)).save(file, "JPEG")
    return file.getvalue()


def files_of(out) -> list:
    """What an evaluation puts out; its parts are its own affair."""
    return [path for path in out.iterdir() if path.is_file()]


def records_of(path, train: dict[int, bytes], val: dict[int, bytes], **flags):
    """Records of a COCO folder with these pictures."""
    folder = CocoFolder(path / "coco", train=0, val=0)
    for split, images in (("train", train), ("val", val)):
        for image_id, data in images.items():
            folder.add(split, image_id, data)
    folder.write()
    build_coco(folder, path / "records", train_shards=1, **flags)
    return path / "records"


@pytest.fixture(scope="module")
def said_in_training():
    """All that training printed, once `trained` has run."""
    return io.StringIO()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, said_in_training):
    """(run, its records): one of the four images of val is in train, too, under another id."""
    path = tmp_path_factory.mktemp("trained")
    val = pictures(100, 101, 102) | {103: jpeg(2, (40, 40))}
    records = records_of(path, pictures(*range(8)), val, allow_leak=True)
    with contextlib.redirect_stdout(said_in_training), contextlib.redirect_stderr(said_in_training):
        assert train(records_dir=records, run_dir=path / "run", epochs=1) == 0
    return path / "run", records


def refused(capsys, **options) -> str:
    assert run_evaluate(**options) == 1
    captured = capsys.readouterr()
    assert "weights of epoch" not in captured.out  # before any work
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert "give --allow_leak: then every output says CONTAMINAT" in line
    return line


def test_a_run_keeps_the_manifest_of_its_records(trained):
    run_dir, records = trained
    kept = (run_dir / "records.json").read_bytes()
    assert kept == (records / manifest.DATASET_INFO).read_bytes()


def test_images_that_are_new_are_scored_without_a_word(trained, tmp_path, capsys):
    other = records_of(tmp_path, pictures(8), pictures(200, 201))
    out = tmp_path / "out"
    options = {"records_dir": other, "output_dir": out, "min_length": 1}
    assert run_evaluate(run_dir=trained[0], **options) == 0
    assert "CONTAMINAT" not in capsys.readouterr().out
    assert (out / "captions_val_run_results.json").exists()
    assert all("CONTAMINAT" not in path.read_text() for path in files_of(out))
    assert json.loads((out / "metrics.json").read_text())["contamination"] is None


def test_a_leak_inside_the_records_is_refused(trained, capsys):
    run_dir, records = trained
    said = refused(capsys, run_dir=run_dir, records_dir=records)
    assert f"error: {run_dir}: 1 of 4 images of val were trained on, " in said
    assert "103 (in train as 2). " in said and "CONTAMINATED 25%" in said
    said = refused(capsys, run_dir=run_dir, records_dir=records, split="train")
    assert "8 of 8 images of train were trained on" in said and "CONTAMINATED 100%" in said


def test_the_same_bytes_in_another_data_set_are_refused(trained, tmp_path, capsys):
    other = records_of(tmp_path, pictures(8), pictures(200) | {201: jpeg(5, (40, 40))})
    said = refused(capsys, run_dir=trained[0], records_dir=other)
    assert "1 of 2 images of val" in said and "201 (in train as 5). " in said


def test_a_resized_copy_under_the_same_id_is_refused(trained, tmp_path, capsys):
    other = records_of(tmp_path, pictures(8), {5: smaller(jpeg(5, (40, 40))), 200: jpeg(200)})
    assert ": 5. " in refused(capsys, run_dir=trained[0], records_dir=other)


def test_forced_every_output_says_so(trained, tmp_path, capsys):
    run_dir, records = trained
    out = tmp_path / "out"
    options = {"records_dir": records, "output_dir": out, "min_length": 1}
    assert run_evaluate("--allow_leak", run_dir=run_dir, **options) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("CONTAMINATED 25%: 1 of 4 images of val were trained on")
    heads, row, *_ = (line for line in printed if line.startswith(("BLEU-1 ", "  ")))
    assert row.endswith("  CONTAMINATED 25%") and len(row.split()) == len(heads.split()) + 2
    assert {path.name for path in files_of(out)} == {
        "captions_val_run-CONTAMINATED-25%.jsonl",
        "captions_val_run-CONTAMINATED-25%_results.json",
        "captions_val_references.json",
        "images.json",
        "metrics.json",
    }
    assert json.loads((out / "images.json").read_text())["contamination"] == "CONTAMINATED 25%"
    report = json.loads((out / "metrics.json").read_text())
    assert report["contamination"] == "CONTAMINATED 25%"
    coco = COCO(str(out / "captions_val_references.json"))
    assert coco.dataset["info"]["description"] == "reference captions CONTAMINATED 25%"
    results = coco.loadRes(str(out / "captions_val_run-CONTAMINATED-25%_results.json"))
    assert sorted(results.getImgIds()) == [100, 101, 102, 103]


def test_a_run_that_does_not_say_what_it_was_trained_on(trained, tmp_path, capsys):
    run_dir = tmp_path / "run"
    shutil.copytree(trained[0], run_dir)
    (run_dir / "records.json").unlink()
    said = refused(capsys, run_dir=run_dir, records_dir=trained[1])
    assert "no records.json tells which images" in said and "CONTAMINATION UNKNOWN" in said


def test_a_manifest_that_is_not_the_runs_own_is_refused(trained, tmp_path, capsys):
    run_dir = tmp_path / "run"
    shutil.copytree(trained[0], run_dir)
    path = run_dir / "records.json"
    for content in (b"{}", path.read_bytes().replace(b'"ids": "coco"', b'"ids": "own"')):
        path.write_bytes(content)
        for command in (run_evaluate, train):
            assert command(run_dir=run_dir, records_dir=trained[1], epochs=1) == 1
            error = one_error(capsys)
            assert f"{path}: not the manifest that the run was started with" in error


def test_forced_with_nothing_known(trained, tmp_path, capsys):
    run_dir = tmp_path / "run"
    shutil.copytree(trained[0], run_dir)
    (run_dir / "records.json").unlink()
    options = {"records_dir": trained[1], "min_length": 1}
    assert run_evaluate("--allow_leak", run_dir=run_dir, **options) == 0
    assert capsys.readouterr().out.startswith("CONTAMINATION UNKNOWN: ")
    folder = run_dir / "evaluation" / "val"
    assert (folder / "captions_val_run-CONTAMINATION-UNKNOWN_results.json").exists()


def test_validation_on_training_images_is_stamped(trained, said_in_training):
    said = said_in_training.getvalue()
    assert "warning: 1 of 4 images of val were trained on" in said
    (line,) = re.findall("epoch 1: val perplexity .*", said)
    assert line.endswith("  CONTAMINATED 25%")
    lines = map(json.loads, (trained[0] / "metrics.jsonl").read_text().splitlines())
    assert [line.get("contamination") for line in lines if line["kind"] == "val"] == [
        "CONTAMINATED 25%"
    ]
    assert "val CONTAMINATED 25%/CIDEr" in events(trained[0])


def test_a_run_does_not_go_on_with_other_images(trained, tmp_path, capsys):
    run_dir = tmp_path / "run"
    shutil.copytree(trained[0], run_dir)
    # The same ids and words, so the same vocabulary; one picture is another.
    other = records_of(tmp_path, pictures(*range(7)) | {7: jpeg(70, (40, 40))}, pictures(200))
    assert train(records_dir=other, run_dir=run_dir, epochs=1) == 1
    assert "its training images are not those" in capsys.readouterr().err


def test_scenes_of_another_seed_share_ids_but_no_picture(tmp_path):
    infos = [
        build(
            dataset="scenes",
            data_dir=tmp_path / f"scenes-{seed}",
            output_dir=tmp_path / f"records-{name}",
            scenes_images=20,
            scenes_seed=seed,
            min_word_count=1,
            image_size=size,
        )
        for name, seed, size in (("a", 1, 0), ("b", 2, 0), ("c", 1, 32))
    ]
    mine, others, same = infos
    assert set(mine.content_hashes("train")) == set(others.content_hashes("train"))
    trained_on = [TrainedOn(mine)]
    for split in ("train", "val", "test"):
        assert find_contamination(trained_on, others, split) is None
    # The very scenes again, stored smaller: train is train, test is new.
    assert find_contamination(trained_on, same, "train").stamp == "CONTAMINATED 100%"
    assert find_contamination(trained_on, same, "test") is None


def test_images_beyond_max_train_images_were_not_trained_on(tmp_path):
    val = pictures(100) | {101: jpeg(7, (40, 40)), 3: jpeg(103, (40, 40))}
    records = records_of(tmp_path, pictures(*range(8)), val, allow_leak=True)
    info = manifest.read_info(str(records))
    order = list(info.content_hashes("train"))

    def trained_on(*limits: int) -> list[TrainedOn]:
        return [TrainedOn(info, limit) for limit in limits]

    for limit, percent in ((1, "12.5%"), (5, "62.5%"), (8, "100%"), (9, "100%"), (0, "100%")):
        stamp = find_contamination(trained_on(limit), info, "train").stamp
        assert stamp == f"CONTAMINATED {percent}"
    assert find_contamination(trained_on(2, 5), info, "train").stamp == "CONTAMINATED 62.5%"
    # 101 is picture 7, and 3 has the id of another picture. Each counts from its place in train on,
    # and in a data set's own space of ids, too, however few of its images were trained on.
    for ids in ("coco", "own"):
        info = dataclasses.replace(info, ids=ids)
        for limit in range(1, 9):
            expected = {
                {7: 101, 3: 3}[image_id] for image_id in order[:limit] if image_id in (7, 3)
            }
            contamination = find_contamination(trained_on(limit), info, "val")
            assert set(leaks.leaked(info, info, "val", limit)) == expected
            assert (contamination is None) == (not expected)
