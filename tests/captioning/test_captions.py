"""Batch evaluation: image files in, lines out, whatever stops it on the way."""

import json
import os
import shutil
import threading
import weakref
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

from artifacts import weights_file
from captioning import devices, image_list, parts, replica
from captioning import image_file as image_files
from pixels import formats
from tests.support.commands import one_error
from tests.support.disk import full_disk
from tests.support.four import FOUR, FOUR_DETOKENISED, four_picture
from tests.support.training import run_evaluate

pytestmark = pytest.mark.usefixtures("without_meteor", "kept_replicas")


@pytest.fixture
def photos(tmp_path):
    """The four pictures, three times each, in folders of folders."""
    return write_photos(tmp_path / "photos")


def write_photos(folder: Path) -> Path:
    for number in range(12):
        path = folder / "abc"[number // 4] / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(four_picture(number % 4 + 1))
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.jpg").write_text("not an image")
    return folder


def said_of(folder: Path) -> dict[str, str]:
    """What is right for `photos`: path -> caption."""
    return {
        str(path): FOUR_DETOKENISED[int(path.stem) % 4 + 1]
        for path in sorted(folder.glob("*/*.jpg"))
    }


@pytest.fixture
def caption(four_run):
    """`evaluation.main` with `four_run`: a function that returns the exit code."""

    def run(out: Path, *args: str, **options) -> int:
        defaults = {"run_dir": four_run, "output_dir": out, "part_images": 4}
        return run_evaluate(*args, **(defaults | options))

    return run


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def captions(out: Path) -> dict[str, str]:
    found = lines(out / "captions.jsonl")
    assert len({line["image"] for line in found}) == len(found)
    return {line["image"]: line["caption"] for line in found}


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The files that were read."""
    paths, original = [], image_files.read
    monkeypatch.setattr(image_files, "read", lambda path: paths.append(path) or original(path))
    return paths


# What is captioned.


def test_a_folder_is_captioned_in_order_of_its_paths(photos, tmp_path, capsys, caption):
    assert caption(tmp_path / "out", images=photos) == 0
    expected = said_of(photos)
    assert list(captions(tmp_path / "out").items()) == list(expected.items())
    out = capsys.readouterr().out
    assert "skipped: 1 .txt, 1 hidden file\n" in out or "skipped: 1 hidden file, 1 .txt\n" in out
    assert "captioning on CPU:0 in float32; encoder batch 4, decode batch 4" in out
    assert f"captions: {tmp_path / 'out' / 'captions.jsonl'} (12 images)" in out
    assert not (tmp_path / "out" / "rejected.jsonl").exists()


def test_globs_lists_and_files_each_image_once(photos, tmp_path, caption):
    listed = tmp_path / "lists" / "some.jsonl"
    listed.parent.mkdir()
    entries = [{"image": "../photos/b/04.jpg", "id": 7, "captions": ["else"]}, {"image": "b.png"}]
    listed.write_text("\n".join(map(json.dumps, entries)) + "\n\n")
    Image.open(photos / "c/09.jpg").save(listed.parent / "b.png")
    sources = [f"{photos}/*/0[0-2].jpg", f"{photos}/a/01.jpg", photos / "a/03.jpg", listed]
    assert caption(tmp_path / "out", images=",".join(map(str, sources))) == 0
    found = lines(tmp_path / "out" / "captions.jsonl")
    assert [(Path(line["image"]).name, line.get("id"), line["caption"]) for line in found] == [
        ("04.jpg", 7, FOUR_DETOKENISED[1]),
        ("b.png", None, FOUR_DETOKENISED[2]),
        *((f"0{n}.jpg", None, FOUR_DETOKENISED[n + 1]) for n in range(4)),
    ]


def test_a_list_is_sorted_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(image_list, "_SORTED_TOGETHER", 3)
    names = [f"{n * 7 % 20:02d}.jpg" for n in range(20)]
    entries = [image_list.Entry(name) for name in [*names, *names]]
    found = image_list.ImageList(iter(entries), 6, str(tmp_path))
    assert [part.images for part in found.parts] == [6, 6, 6, 2] and found.images == 20
    read = [image.name for part in found.parts for image in found.read(part)]
    assert read == sorted(names)
    assert not any(tmp_path.iterdir())


def test_n_best(photos, tmp_path, caption):
    assert caption(tmp_path / "out", images=photos / "a", n_best=3) == 0
    for line in lines(tmp_path / "out" / "captions.jsonl"):
        best = line["n_best"]
        assert len({entry["caption"] for entry in best}) == len(best) == 3
        assert [entry["score"] for entry in best] == sorted(
            (e["score"] for e in best), reverse=True
        )
        assert (line["caption"], line["score"]) == (best[0]["caption"], best[0]["score"])


def test_few_images_are_in_memory_at_once(photos, tmp_path, monkeypatch, caption):
    """Decoded ones: two batches ahead, one at the encoder."""
    alive, most, lock = 0, 0, threading.Lock()
    original = replica.decode

    def count(change):
        nonlocal alive, most
        with lock:
            alive += change
            most = max(most, alive)

    class Counted:
        def __init__(self, tensor):
            self._pixels = tensor.numpy()

        def numpy(self):
            pixels = self._pixels.view()
            count(1)
            weakref.finalize(pixels, count, -1)
            return pixels

    monkeypatch.setattr(replica, "decode", lambda *args: Counted(original(*args)))
    for copy in range(4):
        shutil.copytree(photos / "a", photos / f"copy{copy}")
    assert caption(tmp_path / "out", images=photos, encoder_batch_size=1) == 0
    assert len(captions(tmp_path / "out")) == 28
    assert 2 <= most <= 5


# Going on where it was.


def stop_after(monkeypatch, n_parts: int) -> None:
    """As a kill does: nothing is written any more, whatever was on its way."""
    written, original = [], parts.PartsFolder.write

    def write(self, part, entries):
        if len(written) == n_parts:
            raise KeyboardInterrupt
        written.append(part)
        original(self, part, entries)

    monkeypatch.setattr(parts.PartsFolder, "write", write)


def test_what_was_stopped_goes_on(photos, tmp_path, monkeypatch, read, capsys, caption):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert caption(tmp_path / "out", images=photos) == 130
    assert not (tmp_path / "out" / "captions.jsonl").exists()
    read.clear()
    capsys.readouterr()
    assert caption(tmp_path / "out", images=photos) == 0
    assert "8 of 12 images are captioned already" in capsys.readouterr().out
    assert sorted(read) == [str(photos / "c" / f"{n:02d}.jpg") for n in range(8, 12)]
    assert captions(tmp_path / "out") == said_of(photos)
    read.clear()
    assert caption(tmp_path / "out", images=photos) == 0
    assert read == [] and captions(tmp_path / "out") == said_of(photos)


def test_other_flags_weights_or_precision_start_anew_and_say_so(
    photos, tmp_path, read, capsys, four_run, caption, monkeypatch
):
    out, folder = tmp_path / "out", photos / "a"
    assert caption(out, images=folder) == 0
    capsys.readouterr()
    assert caption(out, images=folder, beam_size=1) == 0
    said = capsys.readouterr().out
    assert "starting anew: --beam_size=1 (was 3); earlier captions stay in" in said
    other = tmp_path / "other"
    shutil.copytree(four_run, other, ignore=shutil.ignore_patterns("events", "evaluation"))
    assert len(read) == 8
    assert caption(out, images=folder, run_dir=other) == 0  # a copy: the same weights
    assert len(read) == 8
    best = str(other / "checkpoints" / "best.npz")
    arrays, note = weights_file.load(best)
    weights_file.save(best, {name: 0.99 * array for name, array in arrays.items()}, note)
    capsys.readouterr()
    assert caption(out, images=folder, run_dir=other) == 0
    assert "starting anew: other weights" in capsys.readouterr().out
    assert len(read) == 12
    # As on a machine with a GPU, to which the folder was copied.
    monkeypatch.setattr(devices, "precision", lambda device, chosen=None: "bfloat16")
    assert caption(out, images=folder, run_dir=other) == 0
    assert "starting anew: other precision" in capsys.readouterr().out
    assert len(read) == 16


def test_captions_of_other_images_are_replaced_and_that_is_said(photos, tmp_path, capsys, caption):
    out = tmp_path / "out"
    for images in ("a", "a/", "b", "b"):
        assert caption(out, images=f"{photos}/{images}") == 0
    assert capsys.readouterr().out.count("starting anew") == 1
    assert caption(out, images=f"{photos}/a") == 0
    assert (
        f"starting anew: --images={photos}/a; the results of --images={photos}/b in {out} are"
        " replaced\n"
    ) in capsys.readouterr().out


def test_only_parts_whose_images_changed_are_done_again(photos, tmp_path, read, caption):
    assert caption(tmp_path / "out", images=photos) == 0
    read.clear()
    (photos / "b" / "05.jpg").write_bytes(four_picture(4, quality=70))
    (photos / "d.jpg").write_bytes(four_picture(3))
    assert caption(tmp_path / "out", images=photos) == 0
    assert sorted(map(Path, read)) == [*sorted((photos / "b").iterdir()), photos / "d.jpg"]
    expected = said_of(photos) | {
        str(photos / "b/05.jpg"): FOUR_DETOKENISED[4],
        str(photos / "d.jpg"): FOUR_DETOKENISED[3],
    }
    assert captions(tmp_path / "out") == expected


def test_unreadable_images_are_listed_and_the_exit_code_says_so(photos, tmp_path, capsys, caption):
    out, broken = tmp_path / "out", photos / "b" / "05.jpg"
    (photos / "a" / "00.jpg").write_bytes(b"<html>not found</html>")
    broken.write_bytes(four_picture(2)[:700])
    (photos / "c" / "08.jpg").unlink()
    (photos / "c" / "08.jpg").symlink_to("nowhere")
    assert caption(out, images=photos) == 1
    assert one_error(capsys) == (
        f"error: 3 of 12 images could not be read: {out / 'rejected.jsonl'}"
    )
    rejected = {line["image"]: line["reason"] for line in lines(out / "rejected.jsonl")}
    bad = [str(photos / name) for name in ("a/00.jpg", "b/05.jpg", "c/08.jpg")]
    assert list(rejected) == bad
    assert "cannot be read: No such file" in rejected[bad[2]]
    unknown = f"expected an image ({formats.ALL}), found a file that begins with b'<html>not fo'"
    assert rejected[bad[0]] == unknown  # the same in every run
    expected = {path: text for path, text in said_of(photos).items() if path not in bad}
    assert captions(out) == expected
    for name in bad:
        Path(name).unlink()
        Path(name).write_bytes(four_picture(int(Path(name).stem) % 4 + 1))
    assert caption(out, images=photos) == 0
    assert captions(out) == said_of(photos)
    assert not (out / "rejected.jsonl").exists()


def test_a_full_disk_is_a_line_and_nothing_is_lost(photos, tmp_path, capsys, caption):
    out, options = tmp_path / "out", {"images": photos / "a", "n_best": 3}
    with full_disk(700):  # room for the list and job.json, none for a part
        assert caption(out, **options) == 1
    said = one_error(capsys)
    assert "/parts/" in said and "cannot be written: File too large; free space there" in said
    assert not [*out.rglob("*.tmp*"), *out.rglob("*.jsonl")]
    assert caption(out, **options) == 0
    assert captions(out) == {path: text for path, text in said_of(photos).items() if "/a/" in path}


# Several jobs, several devices.


def test_shards_of_several_jobs_are_put_together_by_the_last(
    photos, tmp_path, capsys, read, caption
):
    out = tmp_path / "out"
    assert caption(out, images=photos, shard="2/2") == 0
    assert "this shard is done; 2 of 3 parts of the others are not" in capsys.readouterr().out
    assert not (out / "captions.jsonl").exists() and len(read) == 4
    assert caption(out, images=photos, shard="1/2") == 0
    assert len(read) == 12 and captions(out) == said_of(photos)
    for wrong in ("0/2", "3/2", "1", "a/b", "1/0"):
        assert caption(out, images=photos, shard=wrong) == 2
        assert f"--shard={wrong}: expected i/n, from 1/n to n/n" in one_error(capsys)


def test_every_device_takes_parts(photos, tmp_path, monkeypatch, read, caption):
    """Each has its replica and gets parts as long as there are any; no part is done twice."""
    monkeypatch.setattr(devices, "devices", lambda: ["/device:CPU:0", "/CPU:0"])
    used, together = set(), threading.Barrier(2, timeout=300)
    original = replica.Replica._search

    def search(self, part, batch, size):
        if id(self) not in used:
            used.add(id(self))
            together.wait()  # both are at work
        return original(self, part, batch, size)

    monkeypatch.setattr(replica.Replica, "_search", search)
    assert caption(tmp_path / "out", images=photos) == 0
    assert len(used) == 2 and len(read) == 12
    assert captions(tmp_path / "out") == said_of(photos)


def test_a_device_that_fails_stops_the_others(photos, tmp_path, monkeypatch, capsys, caption):
    monkeypatch.setattr(devices, "devices", lambda: ["/device:CPU:0", "/CPU:0"])
    used = []

    def search(self, part, batch, size):
        used.append(self)
        raise replica.tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setattr(replica.Replica, "_search", search)
    assert caption(tmp_path / "out", images=photos) == 1
    assert "out of memory with batches of 4 (encoder) and 4 (search)" in one_error(capsys)
    assert len(used) <= 2


def test_batches_grow_while_they_are_worth_it(monkeypatch):
    rates = {8: 100.0, 16: 190.0, 32: 300.0, 64: 310.0, 128: 900.0}
    tried = []

    def rate(work, size):
        tried.append(size)
        work(size)
        return rates[size]

    monkeypatch.setattr(devices, "_images_per_second", rate)
    assert devices.largest_useful(lambda size: None, 256) == 32
    assert tried == [8, 16, 32, 64]
    assert devices.largest_useful(lambda size: None, 16) == 16
    assert devices.largest_useful(lambda size: None, 20) == 16

    def work(size):
        if size > 8:
            raise replica.tf.errors.ResourceExhaustedError(None, None, "OOM")

    assert devices.largest_useful(work, 256) == 8


# A split of the records.


def test_a_killed_evaluation_of_a_split_goes_on(
    tmp_path, monkeypatch, capsys, four_records, caption
):
    options = {"records_dir": four_records, "part_images": 1}
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert caption(tmp_path / "out", **options) == 130
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert caption(tmp_path / "out", **options, shard="1/2") == 0  # the rest is of 2/2
    assert "1 of 4 parts of the others are not" in capsys.readouterr().out
    assert caption(tmp_path / "out", **options) == 0
    assert "3 of 4 images are captioned already" in capsys.readouterr().out
    found = lines(tmp_path / "out" / "captions_val_four-run.jsonl")
    assert {line["id"]: line["caption"] for line in found} == FOUR_DETOKENISED
    assert {line["id"]: line["references"] for line in found} == {i: [t] for i, t in FOUR.items()}
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["images"] == 4


# COCO's evaluation server.


@pytest.fixture
def image_info(photos):
    """COCO's list of the images without captions, here of those of one folder."""
    path = photos.parent / "annotations" / "image_info_test2017.json"
    path.parent.mkdir()
    images = [{"id": 100 - n, "file_name": f"{n:02d}.jpg", "coco_url": ""} for n in range(4)]
    path.write_text(json.dumps({"info": {}, "images": images, "categories": []}))
    return path


def test_a_submission_is_what_the_server_takes(photos, image_info, tmp_path, capsys, caption):
    options = {"image_info": image_info, "images_dir": photos / "a"}
    assert caption(tmp_path / "out", **options) == 0
    path = tmp_path / "out" / "captions_test2017_four-run_results.json"
    assert f"to submit: {path}" in capsys.readouterr().out
    found = json.loads(path.read_text())
    assert all(entry.keys() == {"image_id", "caption"} for entry in found)
    assert {entry["image_id"]: entry["caption"] for entry in found} == {
        100 - n: FOUR_DETOKENISED[n + 1] for n in range(4)
    }
    assert len(COCO(str(image_info)).loadRes(str(path)).getImgIds()) == 4
    (photos / "a" / "02.jpg").unlink()
    assert caption(tmp_path / "out", **options) == 1
    assert "1 of 4 images could not be read" in one_error(capsys)
    (rejected,) = lines(tmp_path / "out" / "rejected.jsonl")
    assert rejected["id"] == 98


@pytest.mark.parametrize(
    ("images", "found"),
    [
        ([{"id": 1, "file_name": "../a.jpg"}], r"outside: '../a.jpg'"),
        ([{"id": 1, "file_name": "/a.jpg"}], r"outside: '/a.jpg'"),
        ([{"id": "1", "file_name": "a.jpg"}], "image 0 without a whole-number id"),
        ([{"id": 1}], "image 0 (id 1) without a file name"),
        ([{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "image id 1 twice"),
        ([], "a list of 0 elements"),
        (None, "an object with the keys"),
    ],
)
def test_a_file_that_lists_no_images(photos, image_info, tmp_path, capsys, images, found, caption):
    content = {"info": {}} if images is None else {"info": {}, "images": images}
    image_info.write_text(json.dumps(content))
    assert caption(tmp_path / "out", image_info=image_info, images_dir=photos) == 1
    said = one_error(capsys)
    assert f"{image_info}: expected COCO image_info, " in said and found in said


# Wrong usage.


def test_what_is_no_source_of_images(photos, tmp_path, capsys, caption):
    out, bad = tmp_path / "out", tmp_path / "bad.jsonl"
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "none", tmp_path / "empty", f"{photos}/*.png"):
        assert caption(out, images=f"{photos},{source}") == 1
        what = "found no image" if source != tmp_path / "none" else "no such file or folder"
        assert f"--images={source}: {what}" in one_error(capsys)
    for line in ("a.jpg", '["a.jpg"]', '{"image": 1}', '{"image": "a", "id": "1"}', "\x00"):
        bad.write_text(f'{{"image": "photos/a/01.jpg"}}\n{line}\n')
        assert caption(out, images=bad) == 1
        assert f"{bad}:2: expected " in one_error(capsys)
    assert caption(out, images=tmp_path / "none.jsonl") == 1
    assert "none.jsonl: no such file or folder; expected" in one_error(capsys)
    assert not list(out.rglob("*.jsonl"))


def test_flags_that_need_others(photos, tmp_path, capsys, caption):
    assert caption(tmp_path, image_info=tmp_path / "a.json") == 2
    assert "--image_info and --images_dir need each other" in one_error(capsys)
    assert caption(tmp_path, images=photos, language="de") == 2
    assert "--language says how captions are scored" in one_error(capsys)
    both = {"images": photos, "image_info": "a.json", "images_dir": photos}
    assert caption(tmp_path, **both) == 2
    assert "--images and --image_info exclude each other" in one_error(capsys)
    assert caption(tmp_path, image_info=tmp_path / "a.json", images_dir=tmp_path / "none") == 1
    assert "none: no such folder" in one_error(capsys)
    assert caption(tmp_path, images=photos, n_best=4) == 2
    assert "--n_best=4 needs --beam_size=4 at least" in one_error(capsys)


def test_a_folder_that_cannot_be_searched_is_the_exit_code(
    photos, tmp_path, monkeypatch, capsys, caption
):
    original = os.scandir

    def scandir(path="."):
        if str(path) == str(photos / "b"):
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert caption(tmp_path / "out", images=photos) == 1
    assert one_error(capsys) == f"error: {photos / 'b'}: cannot be searched: Permission denied"
    expected = {path: text for path, text in said_of(photos).items() if "/b/" not in path}
    assert captions(tmp_path / "out") == expected
