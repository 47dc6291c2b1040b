"""`--download`: from published zips to records, whatever the network, the disk and kill -9 do."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow_datasets

from cli.errors import UsageError, UserError
from pipeline.download import archives
from pipeline.storage import lock
from tests.support.download import Fault, Server, published, tiny_coco, zipped
from tests.support.records import build, verify

ROOT = Path(__file__).parents[2]
# The command with other archives in its table; {before} may break what it runs on.
_COMMAND = """
import runpy, sys
from pipeline.download import archives
from pipeline.storage import lock
from pipeline.download.archives import Archive
archives.ARCHIVES["coco2017"] = {table!r}
{before}
sys.argv = ["build_records", *sys.argv[1:]]
runpy.run_module("pipeline.build_records", run_name="__main__")
"""


@pytest.fixture
def coco(tmp_path, monkeypatch):
    """(COCO 2017 in small as it must lie there, its zips); the table is that of these zips."""
    folder, zips, table = tiny_coco(tmp_path / "original")
    monkeypatch.setitem(archives.ARCHIVES, "coco2017", table)
    return folder, zips


@pytest.fixture
def server(coco):
    with Server(coco[1]) as server:
        yield server


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def obtain(server, data):
    archives.obtain("coco2017", str(data), server.url)


def tree(folder: Path) -> dict[str, bytes]:
    """Path -> content of every file."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def bring(zips: dict[str, bytes], data: Path) -> None:
    """Put the zips where the user is told to put them."""
    (data / "download").mkdir(parents=True)
    for path, content in zips.items():
        (data / "download" / Path(path).name).write_bytes(content)


def total(server):
    return sum(len(content) for content in server.files.values())


def start(server, data, out, before="") -> subprocess.Popen:
    """The real command as a process."""
    code = _COMMAND.format(table=archives.ARCHIVES["coco2017"], before=before)
    options = {"data_dir": data, "output_dir": out, "download_url": server.url, "min_word_count": 1}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-c", code, "--download", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_from_zips_to_records_and_nothing_is_fetched_twice(coco, server, data, tmp_path, capsys):
    options = {"data_dir": data, "download_url": server.url, "min_word_count": 1}
    info = build(download=True, output_dir=tmp_path / "a", **options)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("building coco2017 from ")
    assert said[1].startswith(
        "downloading val2017.zip, train2017.zip, annotations_trainval2017.zip"
    )
    assert tree(data) == tree(coco[0].path)
    assert [s.total("images") for s in info.splits.values()] == [12, 6]
    assert "download" not in info.flags.every and verify(tmp_path / "a", "--decode") == 0
    assert [path for path, _, _ in server.asked] == list(coco[1])
    build(download=True, output_dir=tmp_path / "b", **options)
    assert "data holds coco2017: nothing to download" in capsys.readouterr().out
    assert len(server.asked) == 3
    first, second = tree(tmp_path / "a"), tree(tmp_path / "b")
    del first["dataset_info.json"], second["dataset_info.json"]  # they name their output_dir
    assert first == second


def test_killed_while_fetching_and_run_again(coco, server, data, tmp_path, capsys):
    server.faults = [Fault(), Fault(cut=2_000, hold=True)]
    process = start(server, data, tmp_path / "out")
    part = data / "download" / "train2017.zip.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == 2_000):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    options = {"data_dir": data, "download_url": server.url, "min_word_count": 1}
    build(download=True, output_dir=tmp_path / "out", **options)
    assert server.asked[2][:2] == ("/zips/train2017.zip", "bytes=2000-")
    assert server.sent == total(server)
    assert tree(data) == tree(coco[0].path)
    assert "train: 12 images" in capsys.readouterr().out
    assert verify(tmp_path / "out", "--decode") == 0


@pytest.mark.parametrize(
    ("deed", "nth"),
    [
        pytest.param("os.replace", 1, marks=pytest.mark.slow),
        ("os.replace", 5),
        pytest.param("os.remove", 4, marks=pytest.mark.slow),
    ],
)
def test_killed_while_unpacking_and_run_again(coco, server, data, tmp_path, deed, nth):
    """SIGKILL where the first zip or its fourth file gets its name, or the second zip goes.

    In the middle of a zip everything is half done; before it and after it are further moments.
    """
    kill = f"""
import os
real, done = {deed}, []
def deadly(*args):
    done.append(args)
    if len(done) == {nth}:
        os.kill(os.getpid(), {signal.SIGKILL:d})
    real(*args)
{deed} = deadly
"""
    code, _, err = finish(start(server, data, tmp_path / "out", kill))
    assert code == -signal.SIGKILL, err
    assert any((data / "download").iterdir())
    obtain(server, data)
    assert tree(data) == tree(coco[0].path)
    assert server.sent == total(server)


def test_a_zip_that_is_not_as_published_is_deleted(coco, server, data):
    right = server.files["/zips/train2017.zip"]
    server.files["/zips/train2017.zip"] = right[:-1] + bytes([right[-1] ^ 1])
    with pytest.raises(UserError, match=r"/zips/train2017\.zip: not as published: its sha256 is"):
        obtain(server, data)
    assert tree(data / "download") == {} and not (data / "train2017").exists()
    server.files["/zips/train2017.zip"] = right
    obtain(server, data)
    assert tree(data) == tree(coco[0].path)
    assert [path for path, _, _ in server.asked].count("/zips/val2017.zip") == 1


def test_the_error_says_how_to_go_on_by_hand(server, data):
    del server.files["/zips/train2017.zip"]
    with pytest.raises(UserError) as caught:
        obtain(server, data)
    said = str(caught.value)
    assert said.startswith(f"{server.url}/zips/train2017.zip: the server says 404 Not Found; ")
    assert "http://published.invalid/zips/train2017.zip" in said and "--download_url" in said
    assert f"into {data}/download" in said and "\n" not in said


def test_zips_that_were_brought_by_hand_are_taken(coco, server, data):
    bring(coco[1], data)
    obtain(server, data)
    assert tree(data) == tree(coco[0].path) and server.asked == []


def test_a_wrong_zip_that_was_brought_by_hand_is_the_users_to_delete(server, data):
    (data / "download").mkdir(parents=True)
    brought = data / "download" / "val2017.zip"
    brought.write_bytes(b"half a zip")
    with pytest.raises(UserError, match=r"download/val2017\.zip: not as published.*; delete it; "):
        obtain(server, data)
    assert brought.read_bytes() == b"half a zip" and server.asked == []


def test_what_was_unpacked_by_hand_is_not_fetched(coco, server, data):
    data.mkdir()
    for name in ("train2017", "annotations"):
        os.rename(coco[0].path / name, data / name)
    (data / "train2017" / "000000000003.jpg").write_bytes(b"the user's own")
    obtain(server, data)
    assert [path for path, _, _ in server.asked] == ["/zips/val2017.zip"]
    assert (data / "train2017" / "000000000003.jpg").read_bytes() == b"the user's own"


def test_what_was_unpacked_in_part_is_completed(coco, server, data):
    os.rename(coco[0].path, data)
    expected = tree(data)
    cut, gone, other, kept = sorted((data / "val2017").iterdir())[:4]
    other.write_bytes(other.read_bytes()[:-1] + b"?")
    cut.write_bytes(cut.read_bytes()[:100])
    gone.unlink()
    (data / "annotations" / "captions_val2017.json").unlink()
    inode = kept.stat().st_ino
    obtain(server, data)
    assert tree(data) == expected and kept.stat().st_ino == inode
    assert [Path(path).name[:3] for path, _, _ in server.asked] == ["val", "ann"]


@pytest.mark.parametrize(
    "name", ["../outside.jpg", "/tmp/outside.jpg", "val2017/../../outside.jpg"]
)
def test_a_zip_that_leads_out_of_the_folder_is_refused(data, monkeypatch, name):
    content = zipped({"val2017/a.jpg": b"a", name: b"outside"})
    table = (published("val2017.zip", content, {"val2017": 1}),)
    monkeypatch.setitem(archives.ARCHIVES, "coco2017", table)
    with (
        Server({"/val2017.zip": content}) as server,
        pytest.raises(UserError, match=rf"val2017\.zip: '{name}' would lie outside "),
    ):
        obtain(server, data)
    assert sorted(tree(data.parent)) == ["data/download/val2017.zip"]
    assert not os.path.exists("/tmp/outside.jpg")


def test_a_zip_with_damaged_data_is_one_line(data, monkeypatch):
    content = bytearray(zipped({"val2017/a.jpg": bytes(range(256)) * 4}))
    content[80] ^= 255
    table = (published("val2017.zip", bytes(content), {"val2017": 1}),)
    monkeypatch.setitem(archives.ARCHIVES, "coco2017", table)
    with (
        Server({"/val2017.zip": bytes(content)}) as server,
        pytest.raises(UserError, match=r"download/val2017\.zip: damaged: .*; delete it; "),
    ):
        obtain(server, data)
    assert list((data / "val2017").iterdir()) == []


def test_a_disk_too_small_is_said_before_anything_is_fetched(server, data, monkeypatch):
    table = archives.ARCHIVES["coco2017"]
    huge = published("zips/huge.zip", b"zip", {"huge": 1}, unpacked=10**18)
    monkeypatch.setitem(archives.ARCHIVES, "coco2017", (*table, huge))
    with pytest.raises(UserError, match=r"data: 1,000,000,000\.00 GB more are needed, .* free"):
        obtain(server, data)
    assert server.asked == []


def test_a_disk_too_small_is_said_before_anything_is_unpacked(coco, server, data, monkeypatch):
    bring(coco[1], data)
    (data / "val2017").mkdir()
    for number in range(1000, 1006):
        (data / "val2017" / f"{number:012d}.jpg").write_bytes(b"cut")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 100))
    with pytest.raises(
        UserError, match=r"data: 0\.00 GB more are needed, 0\.00 GB are free on its"
    ):
        obtain(server, data)
    names = {path.name for path in (data / "download").iterdir()}
    assert names == {*(Path(path).name for path in coco[1])}
    assert {path.read_bytes() for path in (data / "val2017").iterdir()} == {b"cut"}


def test_room_is_counted_zip_by_zip(tmp_path):
    a = published("a.zip", b"a" * 10, {}, unpacked=12)
    b = published("b.zip", b"b" * 100, {}, unpacked=120)
    c = published("c.zip", b"c" * 30, {}, unpacked=40)
    assert archives._peak([a, b, c], str(tmp_path)) == 12 + 120 + 100
    (tmp_path / "b.zip.part").write_bytes(b"b" * 60)
    assert archives._peak([a, b, c], str(tmp_path)) == 12 + 120 + 40
    (tmp_path / "b.zip").write_bytes(b"b" * 100)
    assert archives._peak([a, b, c], str(tmp_path)) == 12 + 40 + 30


@pytest.fixture
def file_limit():
    """Sets how large a file this process may write; a full disk fails the same way."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_disk_that_fills_up_while_fetching_keeps_what_came(coco, server, data, file_limit):
    file_limit(5_000)
    with pytest.raises(UserError, match=r"data: File too large; run the same command again"):
        obtain(server, data)
    file_limit(resource.RLIM_INFINITY)
    assert (data / "download" / "val2017.zip.part").stat().st_size == 5_000
    obtain(server, data)
    assert tree(data) == tree(coco[0].path)
    assert server.asked[1][1] == "bytes=5000-"


def test_a_disk_that_fills_up_while_unpacking_keeps_the_zip(data, monkeypatch, file_limit):
    content = zipped({"val2017/a.jpg": b"a", "val2017/b.jpg": b"b" * 200_000})
    table = (published("val2017.zip", content, {"val2017": 2}),)
    monkeypatch.setitem(archives.ARCHIVES, "coco2017", table)
    with Server({"/val2017.zip": content}) as server:
        file_limit(100_000)
        with pytest.raises(UserError, match="File too large; run the same command again"):
            obtain(server, data)
        assert sorted(tree(data)) == ["download/val2017.zip", "val2017/a.jpg"]
        file_limit(resource.RLIM_INFINITY)
        obtain(server, data)
        assert sorted(tree(data)) == ["val2017/a.jpg", "val2017/b.jpg"] and len(server.asked) == 1


def test_two_runs_on_one_folder_at_once_are_refused(server, data, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0)
    folder = data / "download"
    folder.mkdir(parents=True)
    with lock.only_job(str(folder)), pytest.raises(UserError) as caught:
        obtain(server, data)
    assert str(caught.value).startswith(f"{folder}: another job is writing there; wait ")
    assert str(caught.value).endswith("another --data_dir") and server.asked == []
    obtain(server, data)


def test_the_table_is_what_tensorflow_datasets_holds_its_downloads_against():
    folder = Path(tensorflow_datasets.__file__).parent / "url_checksums"
    lines = (folder / "coco_captions.txt").read_text().splitlines()
    known = {line.split("\t")[0]: line.split("\t")[1:3] for line in lines}
    for dataset, table in archives.ARCHIVES.items():
        for archive in table:
            assert known[archive.url(None)] == [str(archive.size), archive.sha256], dataset
            assert archive.unpacked > archive.size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "flickr8k"}, "--download does not know --dataset=flickr8k"),
        ({"dataset": "scenes"}, "--download does not know --dataset=scenes"),
        ({"data_dir": "gs://bucket/coco"}, "needs a --data_dir on this machine"),
        ({"download_url": "ftp://mirror"}, "must begin with http:// or https://"),
        ({"download": False, "download_url": "http://mirror"}, "--download_url needs --download"),
    ],
)
def test_what_cannot_be_downloaded_is_wrong_usage(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        build(**{"download": True} | options, output_dir=tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="file/data/download: cannot be made: Not a directory"):
        obtain(server, tmp_path / "file" / "data")
