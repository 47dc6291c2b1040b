"""`--download`: the published zips of a data set, fetched, checked, unpacked and deleted.

    data_dir/download/train2017.zip.part   as far as it has come
    data_dir/download/train2017.zip        whole; it goes once all that is in it lies in data_dir

A data set whose parts lie in data_dir, whoever put them there, is not fetched again.
"""

import contextlib
import dataclasses
import hashlib
import os
import posixpath

from cli.errors import UsageError, UserError
from cli.progress import bar
from pipeline.download import http as download
from pipeline.download import unpacking
from pipeline.storage import files, lock

_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Archive:
    """A zip as published.

    Attributes:
        host: where it is published; `--download_url` takes its place. path: of the zip there.
        size: bytes. sha256: in hex.
        unpacked: about how many bytes its files take on a disk.
        holds: what must lie in data_dir once it is unpacked: path -> 1 for a file, and for a
            folder the number of its files.
    """

    host: str
    path: str
    size: int
    sha256: str
    unpacked: int
    holds: dict[str, int]

    @property
    def name(self) -> str:
        """Of the zip."""
        return posixpath.basename(self.path)

    def url(self, base: str | None) -> str:
        """Where to fetch it: below `base`, if given."""
        return posixpath.join(base or self.host, self.path)


# No https: the host's certificate is of another name. The sums say that all is as published; they
# are those that tensorflow_datasets holds its own downloads against (url_checksums/).
_COCO = "http://images.cocodataset.org"
# Data set -> its zips, in the order in which they are unpacked. Annotations come last: until they
# lie there no build takes a folder for whole.
ARCHIVES = {
    "coco2017": (
        Archive(
            _COCO,
            "zips/val2017.zip",
            size=815_585_330,
            sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            unpacked=850_000_000,
            holds={"val2017": 5_000},
        ),
        Archive(
            _COCO,
            "zips/train2017.zip",
            size=19_336_861_798,
            sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            unpacked=19_800_000_000,
            holds={"train2017": 118_287},
        ),
        Archive(
            _COCO,
            "annotations/annotations_trainval2017.zip",
            size=252_907_541,
            sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            unpacked=840_000_000,
            holds={
                "annotations/captions_train2017.json": 1,
                "annotations/captions_val2017.json": 1,
            },
        ),
    ),
    "coco2014": (
        Archive(
            _COCO,
            "zips/val2014.zip",
            size=6_645_013_297,
            sha256="fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
            unpacked=6_800_000_000,
            holds={"val2014": 40_504},
        ),
        Archive(
            _COCO,
            "zips/train2014.zip",
            size=13_510_573_713,
            sha256="ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
            unpacked=13_800_000_000,
            holds={"train2014": 82_783},
        ),
        Archive(
            "https://cs.stanford.edu/people/karpathy/deepimagesent",
            "caption_datasets.zip",
            size=36_745_453,
            sha256="4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
            unpacked=250_000_000,
            holds={"dataset_coco.json": 1},
        ),
    ),
}


def check_usage(wanted: bool, dataset: str, data_dir: str, base: str | None) -> None:
    """Raise UsageError unless `dataset`, if `wanted`, can be had from `base` in `data_dir`."""
    if not wanted:
        if base:
            raise UsageError("--download_url needs --download")
        return
    if dataset not in ARCHIVES:
        raise UsageError(
            f"--download does not know --dataset={dataset}: it fetches {', '.join(ARCHIVES)}"
        )
    if not files.is_local(data_dir):
        raise UsageError(f"--download needs a --data_dir on this machine, not {data_dir}")
    if base and not base.startswith(("http://", "https://")):
        raise UsageError(f"--download_url={base}: it must begin with http:// or https://")


def obtain(dataset: str, data_dir: str, base: str | None) -> None:
    """Have all of `dataset` in `data_dir`; what is there already is left alone.

    It can be killed at any moment: the next call goes on from there.

    Raises:
        UserError: it cannot be had, by the network, the disk or another run; the message says how
            to get it by hand.
    """
    if not _missing(dataset, data_dir):
        print(f"{data_dir} holds {dataset}: nothing to download", flush=True)
        return
    folder = posixpath.join(data_dir, "download")
    files.make_directory(folder)
    with lock.only_job(folder, "--data_dir"):
        missing = _missing(dataset, data_dir)
        names = ", ".join(archive.name for archive in missing)
        total = sum(archive.size for archive in missing)
        print(f"downloading {names} into {data_dir}: {total / 1e9:,.2f} GB", flush=True)
        try:
            unpacking.check_space(data_dir, _peak(missing, folder))
            for archive in missing:
                _obtain_one(archive, data_dir, folder, base)
        except UserError as error:
            raise UserError(f"{error}; {_by_hand(missing, data_dir, folder)}") from None
        except OSError as error:
            where = f"{error.filename or data_dir}: {files.reason(error)}"
            raise UserError(f"{where}; {_by_hand(missing, data_dir, folder)}") from None
        with contextlib.suppress(OSError):  # the user keeps something there
            os.rmdir(folder)


def _by_hand(missing: list[Archive], data_dir: str, folder: str) -> str:
    urls = " ".join(archive.url(None) for archive in missing)
    return (
        "run the same command again to go on from there, or name a mirror by --download_url; by"
        f" hand: put {urls} into {folder} and run it again, or unpack them in {data_dir}"
    )


def _obtain_one(archive: Archive, data_dir: str, folder: str, base: str | None) -> None:
    path = posixpath.join(folder, archive.name)
    if not os.path.exists(path):
        _fetch(archive, archive.url(base), path)
    elif wrong := _wrong_sum(archive, path):
        raise UserError(f"{path}: {wrong}; delete it")
    unpacking.unpack(path, data_dir)
    os.sync()  # the zip goes when its files are sure to stay
    os.remove(path)


def _missing(dataset: str, data_dir: str) -> list[Archive]:
    """The archives of which something is not in `data_dir`, or whose zip still is."""

    def there(name: str, count: int) -> bool:
        path = posixpath.join(data_dir, name)
        if os.path.isdir(path):
            return sum(not entry.startswith(".") for entry in os.listdir(path)) >= count
        return os.path.isfile(path)

    def unpacked(archive: Archive) -> bool:
        zip_left = os.path.exists(posixpath.join(data_dir, "download", archive.name))
        return not zip_left and all(there(*entry) for entry in archive.holds.items())

    return [archive for archive in ARCHIVES[dataset] if not unpacked(archive)]


def _peak(missing: list[Archive], folder: str) -> int:
    """How many bytes more the disk must take, when each zip goes before the next one comes.

    What a whole zip takes to unpack is left out: unpacking knows it better.
    """
    peak = held = 0
    for archive in missing:
        path = posixpath.join(folder, archive.name)
        if not os.path.exists(path):
            have = download.written(path + ".part")
            peak = max(peak, held + archive.size - have + archive.unpacked)
            held += archive.unpacked - have
    return peak


def _fetch(archive: Archive, url: str, path: str) -> None:
    """Bring the zip to `path`, whole and as published."""
    part = path + ".part"
    download.fetch(url, part, archive.size)
    if wrong := _wrong_sum(archive, part):
        os.remove(part)
        raise UserError(f"{url}: {wrong}; what was fetched is deleted")
    os.replace(part, path)


def _wrong_sum(archive: Archive, path: str) -> str:
    """What is wrong with the zip at `path`; "" when it is as published."""
    digest = hashlib.sha256()
    size = download.written(path)
    with open(path, "rb") as file, bar(size, f"checking {archive.name}", "B", scaled=True) as shown:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            shown.update(len(piece))
    if digest.hexdigest() == archive.sha256:
        return ""
    return f"not as published: its sha256 is {digest.hexdigest()}, expected {archive.sha256}"
