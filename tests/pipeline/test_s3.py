"""The job on an object store: moto's S3 server, the real protocol on loopback."""

import io
import json
import os
import random
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
import xxhash
from moto import settings
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from cli.errors import UserError
from pipeline.engines import beam_options
from pipeline.storage import beam_files, files
from records import manifest
from records.shard_files import Sidecar
from tests.pipeline.own.folders import add_images
from tests.support.parquets import write_parquet
from tests.support.records import CocoFolder, build, build_coco, jpeg, verify
from tests.support.tars import img2dataset

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
SMALL = {"train_shards": 2, "val_shards": 1, "min_word_count": 1}
DEAD = ".tmp-0123456789abcdef0123456789abcdef"


class Store:
    """An S3 server with the bucket `bucket`.

    Attributes:
        options: Beam's, to reach it. client: the test's own.
        requests: (method, path and query) of what was asked. ranges: of objects, as asked.
        writes: how many more requests that change something it grants; None: all.
    """

    def __init__(self):
        self.requests: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self.writes: int | None = None
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=MotoRequestHandler
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self._server.server_port}"
        self.options = options(url)
        self.client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **KEYS)
        self.client.create_bucket(Bucket="bucket")

    def _answer(self, environ, start_response):
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        self.requests.append((method, f"{environ['PATH_INFO']}?{query}"))
        if "HTTP_RANGE" in environ:
            self.ranges.append(environ["HTTP_RANGE"])
        if method in ("PUT", "POST", "DELETE") and self.writes is not None:
            self.writes -= 1
            if self.writes < 0:
                environ["PATH_INFO"] = "/closed/to/writers"  # a bucket that is not there
                if query == "delete":  # moto fails at that
                    environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
                    start_response("403 Forbidden", [("Content-Length", "0")])
                    return [b""]
        return self._app(environ, start_response)

    def put(self, folder: Path, prefix: str) -> None:
        """Upload all files under a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket="bucket", Key=key, Body=path.read_bytes())

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Name -> content of everything under a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="bucket")
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return {
            key.removeprefix(f"{prefix}/"): self.client.get_object(Bucket="bucket", Key=key)[
                "Body"
            ].read()
            for key in keys
            if key.startswith(f"{prefix}/")
        }

    def clear(self, prefix: str) -> None:
        self.writes = None
        for name in self.objects(prefix):
            self.client.delete_object(Bucket="bucket", Key=f"{prefix}/{name}")

    def stop(self) -> None:
        self._server.shutdown()


def options(url: str, key: str = "key") -> tuple[str, ...]:
    return (
        f"--s3_endpoint_url={url}",
        f"--s3_access_key_id={key}",
        "--s3_secret_access_key=secret",
        "--s3_region_name=us-east-1",
    )


@pytest.fixture(scope="module")
def running_store():
    os.environ["MOTO_S3_DEFAULT_MAX_KEYS"] = "7"  # of a page: every listing has several
    store = Store()
    yield store
    store.stop()
    del os.environ["MOTO_S3_DEFAULT_MAX_KEYS"]


@pytest.fixture
def store(running_store):
    running_store.writes = None
    running_store.requests.clear()
    beam_options.checked(list(running_store.options))
    return running_store


def local_files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def without_flags(content: dict[str, bytes]) -> dict[str, bytes]:
    info = json.loads(content["dataset_info.json"])
    del info["flags"]
    return content | {"dataset_info.json": json.dumps(info).encode()}


@pytest.mark.slow
def test_everything_on_s3_is_as_on_disk(store, tmp_path, capsys):
    folder = CocoFolder(tmp_path / "coco")
    behind = random.Random(0).randbytes(1_500_000)  # What follows an image's end is kept.
    for number in range(50, 56):  # a shard of several parts
        folder.add("train", number, jpeg(number) + behind)
    folder.add("train", 90, None)
    folder.add("val", 1090, jpeg(9)[:-2])
    folder.write()
    store.put(folder.path, "a b/coco")
    names = {"data_dir": "s3://bucket/a b/coco", "output_dir": "s3://bucket/records"}
    given = SMALL | {"dataset": "coco2017", "train_shards": 1, "max_rejected_fraction": 0.2}
    build_coco(folder, tmp_path / "local", **given)
    expected = without_flags(local_files(tmp_path / "local"))
    build(*store.options, **given | names)
    assert without_flags(store.objects("records")) == expected
    sizes = [len(content) for name, content in expected.items() if name.startswith("train")]
    assert max(sizes) > 8e6
    reads = [path for method, path in store.requests if "/train2017/" in path and method != "PUT"]
    assert len(reads) <= 3 * 18 + 2  # of 18 images and a missing one
    assert verify("s3://bucket/records", "--decode", *store.options) == 0

    capsys.readouterr()
    store.requests.clear()
    build(*store.options, **given | names)
    assert "2 of 2 shards were finished before and kept" in capsys.readouterr().out
    assert without_flags(store.objects("records")) == expected
    assert not [path for method, path in store.requests if method == "GET" and ".jpg" in path]
    store.clear("records")
    build(*store.options, "--direct_running_mode=multi_processing", **given | names)
    assert without_flags(store.objects("records")) == expected

    folder.annotations("train").unlink()
    store.client.delete_object(Bucket="bucket", Key="a b/coco/annotations/captions_train2017.json")
    given["vocabulary"] = "s3://bucket/records"
    info = build(*store.options, **given | names | {"output_dir": "s3://bucket/val"})
    assert list(info.splits) == ["val"]
    assert store.objects("val")["vocabulary.tsv"] == expected["vocabulary.tsv"]


def test_tars_on_s3_are_as_on_disk(store, tmp_path):
    for shard in range(2):
        img2dataset(tmp_path / "tars", shard, range(shard * 5, shard * 5 + 5), size=(300, 200))
    store.put(tmp_path / "tars", "tars/train")
    given = SMALL | {"dataset": "webdataset", "val_shards": 0}
    build(**given | {"data_dir": tmp_path / "tars", "output_dir": tmp_path / "local"})
    # The same names: a folder says the split of the one, nothing that of the other.
    expected = local_files(tmp_path / "local")
    store.put(tmp_path / "tars", "bare")
    store.ranges.clear()
    store.requests.clear()
    build(*store.options, **given | {"data_dir": "s3://bucket/bare", "output_dir": "s3://bucket/o"})
    assert without_flags(store.objects("o")) == without_flags(expected)
    # Each tar is listed twice, and each image is a piece of a tar.
    reads = [path for method, path in store.requests if method == "GET" and ".tar?" in path]
    pieces = [place for place in store.ranges if not place.endswith("-")]
    assert len(pieces) == 10 and len(reads) == 2 * 2 + 10
    named = {"data_dir": "s3://bucket/tars", "output_dir": "s3://bucket/named"}
    assert build(*store.options, **given | named).splits["train"].total("images") == 10


@pytest.mark.slow
def test_a_table_on_s3_is_as_on_disk(store, tmp_path):
    folder = tmp_path / "own"
    add_images(folder, *(f"Images/caf\u00e9 {n}.jpg" for n in range(9)))
    rows = "".join(f"cafe\u0301 {n}.jpg,a dog\n" for n in range(9))
    (folder / "captions.csv").write_text("image,caption\n" + rows)
    store.put(folder, "a b/own")
    given = SMALL | {"min_word_count": 1, "val_fraction": 0.4, "val_shards": 1, "train_shards": 1}
    build(**given | {"data_dir": folder, "output_dir": tmp_path / "local"})
    named = {"data_dir": "s3://bucket/a b/own", "output_dir": "s3://bucket/table"}
    info = build(*store.options, **given | named)
    assert info.dataset == "csv" and list(info.splits) == ["train", "val"]
    expected = without_flags(local_files(tmp_path / "local"))
    assert without_flags(store.objects("table")) == expected
    moved = {"train_annotations": "s3://bucket/a b/own/captions.csv", "data_dir": "s3://bucket/no"}
    moved["train_images"] = "s3://bucket/a b/own/Images"
    build(*store.options, **given | named | moved | {"output_dir": "s3://bucket/moved"})
    assert without_flags(store.objects("moved")) == expected


def test_parquet_on_s3_is_as_on_disk(store, tmp_path):
    """A listing fetches the captions, not the images; the images are fetched once."""
    columns = {
        "image": [{"bytes": jpeg(n, (300, 200)), "path": f"{n}.jpg"} for n in range(60)],
        "caption": ["a dog runs"] * 60,
    }
    path = write_parquet(tmp_path / "d/train.parquet", columns, rows=30)
    store.put(path.parent, "hub/data")
    given = SMALL | {"dataset": "parquet", "val_shards": 0}
    build(**given | {"data_dir": path.parent, "output_dir": tmp_path / "local"})
    store.ranges.clear()
    named = {"data_dir": "s3://bucket/hub/data", "output_dir": "s3://bucket/hub_records"}
    build(*store.options, **given | named)
    expected = without_flags(local_files(tmp_path / "local"))
    assert without_flags(store.objects("hub_records")) == expected
    fetched = 0
    for piece in store.ranges:
        start, end = piece.removeprefix("bytes=").split("-")
        fetched += int(end) - int(start) + 1 if end else 0
    size = path.stat().st_size
    assert size > 2e6 and size < fetched < 1.6 * size


@pytest.mark.slow
def test_stopped_anywhere_and_run_again(store, tmp_path):
    """After its n-th write the store takes nothing more, as if the job were killed there."""
    folder = CocoFolder(tmp_path / "coco", train=4, val=2)
    store.put(folder.path, "source")
    build_coco(folder, tmp_path / "old", **SMALL, seed=1)
    build_coco(folder, tmp_path / "new", **SMALL)
    old, new = (without_flags(local_files(tmp_path / name)) for name in ("old", "new"))
    given = SMALL | {"dataset": "coco2017", "data_dir": "s3://bucket/source"}
    given["output_dir"] = "s3://bucket/stopped"
    count = 0
    while True:
        store.clear("stopped")
        store.put(tmp_path / "old", "stopped")
        store.writes = count
        try:
            build(*store.options, **given)
            break
        except UserError as error:
            assert "(NoSuchBucket)" in str(error) or "(403)" in str(error)
        left = store.objects("stopped")
        if "dataset_info.json" in left:
            assert any(without_flags(left).items() >= whole.items() for whole in (old, new))
        for name in [name for name in left if name.endswith(".tfrecord.json")]:
            shard = Sidecar.from_bytes(left[name], name).shard
            assert xxhash.xxh128_hexdigest(left[shard.name]) == shard.xxh128
        if count % 3 == 0:
            store.writes = None
            build(*store.options, **given)
            found = store.objects("stopped")
            stale = {name for name in found if name.startswith(".tmp-")}
            assert without_flags({n: found[n] for n in found.keys() - stale}) == new
            assert verify("s3://bucket/stopped", *store.options) == 0
        count += 7  # a file takes five: begin, part, end, copy, delete
    assert count > 30


def test_temporaries_of_the_dead_go_by_age(store, tmp_path, monkeypatch):
    store.client.put_object(Bucket="bucket", Key=f"swept/{DEAD}", Body=b"half")
    store.client.put_object(Bucket="bucket", Key="swept/kept", Body=b"")
    files.sweep("s3://bucket/swept")
    assert sorted(store.objects("swept")) == [DEAD, "kept"]
    monkeypatch.setattr(beam_files, "STALE_SECONDS", -1)
    files.sweep("s3://bucket/swept")
    assert list(store.objects("swept")) == ["kept"]


@pytest.mark.parametrize("place", ["s3://bucket/same", "disk"])
def test_a_store_and_a_disk_answer_alike(store, tmp_path, place):
    folder = place if "://" in place else str(tmp_path / place)
    assert files.names(folder) == []
    files.make_directory(folder)
    path = f"{folder}/file"
    for missing in (path, f"{path}/below", f"{folder}/a\0b"):
        assert files.read(missing) is None and files.size(missing) is None
    assert not files.exists(path)
    files.delete(path)
    files.write(path, b"first")
    assert (files.read(path), files.size(path), files.exists(path)) == (b"first", 5, True)
    with files.open_file(path) as file:
        assert file.read(2) == b"fi"
    with pytest.raises(RuntimeError), files.create(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert files.read(path) == b"first"
    with files.create(path) as file:
        file.write(b"second ")
        assert files.read(path) == b"first"
        files.sweep(folder)  # a temporary that is being written stays
        file.write(b"version")
    assert files.read(path) == b"second version"
    assert files.read_piece(path, 7, 4) == b"vers" and files.read_piece(path, 12, 9) == b"on"
    with files.open_random(path) as file:
        file.seek(-7, os.SEEK_END)
        assert file.read(3) == b"ver" and file.read() == b"sion"
    with pytest.raises(UserError, match="cannot be read"):
        files.read_piece(f"{folder}/none", 0, 1)
    assert files.names(folder) == ["file"] and files.exists(folder)
    files.delete(path)
    assert files.names(folder) == [] and files.read(path) is None


def test_a_piece_of_a_large_object_costs_a_piece(store, tmp_path):
    """Beam's own reader would ask for the rest of the object."""
    store.client.put_object(Bucket="bucket", Key="large", Body=bytes(1 << 20))
    store.requests.clear()
    store.ranges.clear()
    assert files.read_piece("s3://bucket/large", 1000, 24) == bytes(24)
    assert store.ranges == ["bytes=1000-1023"] and len(store.requests) == 2  # The size, the piece.


def test_a_piece_of_an_object_on_google_costs_a_piece(monkeypatch):
    """Its client is not installed here: a stand-in for Beam's `GcsIO.open`."""
    asked = {}

    def open_blob(path, mode="r", read_buffer_size=16 << 20):
        asked[path] = read_buffer_size
        return io.BytesIO(b"0123456789")

    system = SimpleNamespace(_gcsIO=lambda: SimpleNamespace(open=open_blob))
    monkeypatch.setattr(beam_files.FileSystems, "get_filesystem", lambda path: system)
    assert files.read_piece("gs://bucket/large", 2, 3) == b"234"
    assert asked == {"gs://bucket/large": 64 << 10}


@pytest.mark.filterwarnings("ignore:Possible nested set")
def test_listing_is_of_the_folder_and_of_all_of_it(store):
    listed = [f"{number:02d}*?[a].txt" for number in range(20)]
    for name in (*listed, "below/inside", "below/deeper/x"):
        store.client.put_object(Bucket="bucket", Key=f"list/[d]/{name}", Body=b"1")
    store.client.put_object(Bucket="bucket", Key="list/d/other", Body=b"1")
    store.client.put_object(Bucket="bucket", Key="list/[d]more/other", Body=b"1")
    store.requests.clear()
    assert files.names("s3://bucket/list/[d]") == listed
    assert len(store.requests) < 10 and {method for method, _ in store.requests} == {"GET"}
    assert files.names("s3://bucket/list/[d]/") == listed
    assert files.names("s3://bucket/nowhere") == []
    assert files.exists("s3://bucket/list/[d]/below") and files.exists("s3://bucket/list/d/other")
    assert not files.exists("s3://bucket/list/[d") and not files.exists("s3://bucket/list/d/oth")
    assert files.size("s3://bucket/list/d/other") == 1
    assert files.size("s3://bucket/list/d/none") is None
    assert files.read("s3://bucket/list/d/none") is None
    files.write("s3://bucket/list/empty", b"")
    assert files.read("s3://bucket/list/empty") == b""
    files.delete("s3://bucket/list/empty")
    files.delete("s3://bucket/list/empty")
    assert not files.exists("s3://bucket/list/empty")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_store_that_refuses_is_told_in_one_line(store, tmp_path, monkeypatch):
    folder = CocoFolder(tmp_path / "coco", train=1, val=1)
    with pytest.raises(UserError, match=r"^s3://none/records: .*\(NoSuchBucket\)"):
        build_coco(folder, "s3://none/records", *store.options)
    with pytest.raises(UserError, match=r"^s3://none/coco/.*: .*\(NoSuchBucket\)"):
        build(*store.options, dataset="coco2017", data_dir="s3://none/coco")
    with pytest.raises(UserError, match=r"^s3://bucket/none/annotations/.*: no such file"):
        build(*store.options, dataset="coco2017", data_dir="s3://bucket/none")
    with pytest.raises(UserError, match=r"^s3://bucket/none: not a finished data set"):
        verify("s3://bucket/none", *store.options)
    nobody = options(f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(
        UserError, match=r"^s3://bucket/records: .*Could not connect to the endpoint"
    ):
        build_coco(folder, "s3://bucket/records", *nobody)
    with pytest.raises(
        UserError, match=r"^s3://bucket/records/dataset_info.json: .*Could not conn"
    ):
        verify("s3://bucket/records", *nobody)
    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
    wrong = options(store.options[0].partition("=")[2], key="wrong")
    with pytest.raises(UserError, match=r"^s3://bucket/records: .*\(InvalidAccessKeyId\)"):
        build_coco(folder, "s3://bucket/records", *wrong)


def test_what_does_not_work_on_stores_says_so(store, tmp_path):
    with pytest.raises(
        UserError, match=r"^--data_dir=s3://bucket/x: scenes are drawn into a local"
    ):
        build(*store.options, dataset="scenes", data_dir="s3://bucket/x", output_dir=tmp_path)
    with pytest.raises(UserError, match=r"copy the records to a local disk first"):
        manifest.read_info("s3://bucket/records")
    with pytest.raises(UserError, match=r"^s3://: expected s3://BUCKET/FOLDER"):
        files.names("s3://")
    with pytest.raises(UserError, match=r"^xyz://a/b: xyz:// cannot be used"):
        files.read("xyz://a/b")
