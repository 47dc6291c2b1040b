"""`make bench-records`: the job against a plain loop and Beam by the book; stages; reading.

Every case runs in a process of its own, in turns. "a pair" is an image with one of its captions.
"marginal" is what N more images take, so that no start-up is in it.
"""

import os
import tempfile
from pathlib import Path

from benchmarks.measure import Measured, interleaved, repeats_flag, table
from benchmarks.records_cases import COCO_IMAGES, make_coco

CASES = "benchmarks.records_cases"
# The job waits until a disk holds its records, a plain loop does not: a slow minute of the disk
# would be taken for the job's.
MEMORY = "/dev/shm"


def main() -> None:
    """Make the images, measure, print the table."""
    parser = repeats_flag()
    parser.add_argument("--images", type=int, default=4000, help="N, of about 160 KB each")
    parser.add_argument("--work_dir", default=MEMORY, help="for images and records: 4 GB")
    parser.add_argument("--only", choices=sorted(PARTS), help="one part; default: all of them")
    options = parser.parse_args()
    if not os.path.isdir(options.work_dir):
        parser.error(f"--work_dir={options.work_dir}: no such folder")
    with tempfile.TemporaryDirectory(dir=options.work_dir, prefix="bench-records-") as folder:
        work = Path(folder)
        for name, n in (("n", options.images), ("2n", 2 * options.images)):
            make_coco(work / name, n)
        make_coco(work / "full", COCO_IMAGES, with_images=False)
        for name, part in PARTS.items():
            if options.only in (None, name):
                part(work, options.images, options.repeats)


def writers(work: Path, n: int, repeats: int) -> None:
    """The job, a plain loop, Beam by the book; one process and two; header checks and decoding."""
    one = ["--direct_running_mode=multi_processing", "--direct_num_workers=1"]
    two = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    strict = {"verify": "decode"}
    kinds = {
        "the job": ("write_job", {}),
        "plain TFRecordWriter loop": ("write_loop", {}),
        "Beam's Reshuffle | WriteToTFRecord": ("write_beam", {}),
        "the job, 1 worker process": ("write_job", {"beam_args": one}),
        "the job, 2 worker processes": ("write_job", {"beam_args": two}),
        "the job, --verify=decode, 1 process": ("write_job", {"beam_args": one, "flags": strict}),
        "the job, --verify=decode, 2 processes": ("write_job", {"beam_args": two, "flags": strict}),
    }
    cases = {
        f"{label}, {size}": (case, {"data_dir": str(work / size), "output_dir": f"{work}/out"} | a)
        for label, (case, a) in kinds.items()
        for size in ("n", "2n")
    }
    found = interleaved(CASES, cases, repeats, _cpus())
    base = _marginal(found, "plain TFRecordWriter loop", n)
    rows = []
    for label in kinds:
        small, large = found[f"{label}, n"], found[f"{label}, 2n"]
        rate = _marginal(found, label, n)
        numbers = (
            f"{large.seconds:.2f} {large.spread:.0%} {large.n / large.seconds:,.0f} {rate:,.0f}"
            f" {rate / base:.2f} {large.peak_mb:,.0f} {large.peak_mb - small.peak_mb:+,.0f}"
        )
        rows.append([label, *numbers.split()])
    header = ["", "s", "spread", "img/s", "marginal img/s", "of the loop", "peak MB", "N to 2N"]
    print(table(f"writing {2 * n:,} images (N = {n:,})", header, rows), flush=True)


def _marginal(found: dict[str, Measured], label: str, n: int) -> float:
    """Images a second without start-up."""
    return n / max(1e-9, found[f"{label}, 2n"].seconds - found[f"{label}, n"].seconds)


def metadata(work: Path, _: int, repeats: int) -> None:
    """What happens before the first image is opened, at COCO's size."""
    data = {"data_dir": str(work / "full")}
    cases = {
        "the job up to its shard writers": ("metadata_job", data),
        "plain json and Counter": ("metadata_plain", data),
    }
    found = interleaved(CASES, cases, repeats, _cpus())
    base = found["plain json and Counter"]
    rows = []
    for label, m in found.items():
        ratio = m.seconds / base.seconds
        numbers = f"{m.seconds:.1f} {m.spread:.0%} {ratio:.2f} {m.peak_mb:,.0f}"
        rows.append([label, *numbers.split()])
    title = f"metadata of {COCO_IMAGES:,} images, {base.n:,.0f} captions"
    print(table(title, ["", "s", "spread", "of plain", "peak MB"], rows), flush=True)


def features(work: Path, _: int, repeats: int) -> None:
    """The job's frozen encoder against `predict` of Keras, on one core."""
    base = "Keras predict, float32"
    kinds = {base: "predict", "frozen, float32": "float32", "frozen, bfloat16": "bfloat16"}
    cases = {
        f"{encoder}: {label}": (
            "features",
            {"encoder": encoder, "kind": kind, "images": images, "data_dir": str(work / "n")},
        )
        for encoder, images in (("nasnet_large", 32), ("nasnet_mobile", 160), ("mobilenet_v2", 320))
        for label, kind in kinds.items()
    }
    found = interleaved(CASES, cases, repeats, _cpus()[:1])
    rows = []
    for label, m in found.items():
        ratio = found[f"{label.split(':')[0]}: {base}"].seconds / m.seconds
        numbers = f"{m.n / m.seconds:.1f} {m.spread:.0%} {ratio:.2f} {m.peak_mb:,.0f}"
        rows.append([label, *numbers.split()])
    print(table("features, one core", ["", "img/s", "spread", "of predict", "peak MB"], rows))


def reading(work: Path, n: int, repeats: int) -> None:
    """An epoch of each kind of shard, as the trainer reads it."""
    kinds = {
        "one pair a record, images": {"captions_per_record": 1},
        "images": {},
        "features (mobilenet_v2)": {"features": "mobilenet_v2", "encoder_weights": "random"},
    }
    for label, flags in kinds.items():
        arguments = {"data_dir": str(work / "n"), "output_dir": f"{work}/{label}", "flags": flags}
        interleaved(CASES, {f"building: {label}": ("build", arguments)}, 1, _cpus())
    cases = {label: ("read", {"records_dir": f"{work}/{label}"}) for label in kinds}
    found = interleaved(CASES, cases, repeats, _cpus())
    base = next(iter(found.values()))
    rows = []
    for label, m in found.items():
        rate = m.n / m.seconds
        numbers = f"{rate:,.0f} {m.spread:.0%} {rate * base.seconds / base.n:.1f} {m.peak_mb:,.0f}"
        rows.append([label, *numbers.split()])
    header = ["", "pairs/s", "spread", "of pairs", "peak MB"]
    print(table(f"reading {n:,} images' captions, decoded", header, rows), flush=True)


def training(work: Path, n: int, repeats: int) -> None:
    """Training from images, whose encoder runs in every epoch, against training from features."""
    cases = {}
    for encoder, steps in (("nasnet_large", 4), ("mobilenet_v2", 16)):
        make_coco(work / encoder, 16 * steps)
        kinds = {"images": {}, "features": {"features": encoder, "encoder_weights": "random"}}
        for kind, flags in kinds.items():
            records = f"{work}/{encoder} {kind}"
            arguments = {"data_dir": str(work / encoder), "output_dir": records, "flags": flags}
            interleaved(CASES, {f"building: {records}": ("build", arguments)}, 1, _cpus())
            few = steps if kind == "images" else 30
            arguments = {"records_dir": records, "encoder": encoder, "steps": few}
            cases[f"{encoder}: {kind}"] = ("training", arguments)
    found = interleaved(CASES, cases, repeats, _cpus())
    rows = []
    for label, m in found.items():
        images = found[f"{label.split(':')[0]}: images"]
        ratio = images.seconds / images.n * m.n / m.seconds
        numbers = f"{m.n / m.seconds:.1f} {m.spread:.0%} {ratio:.1f} {m.cores:.2f} {m.peak_mb:,.0f}"
        rows.append([label, *numbers.split()])
    header = ["", "img/s", "spread", "of images", "cores busy", "peak MB"]
    print(table("training, 16 images with their captions a step, bfloat16", header, rows))


def _cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0))


PARTS = {part.__name__: part for part in (writers, metadata, features, reading, training)}


if __name__ == "__main__":
    main()
