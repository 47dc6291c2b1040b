"""The records job against a plain loop and against Beam as its guides show it; stages; reading.

Run it with `make bench-records`, or `python -m benchmarks.records --only=PART` for one table. Every
case runs in a process of its own, in turns. A pair is an image with one of its captions. "marginal"
is the rate of N more images, which leaves start-up out.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.coco_folder import COCO_IMAGES, make_coco_folder
from benchmarks.measure import (
    Measurement,
    describe_machine,
    interleaved,
    repeats_parser,
    table,
    usable_cores,
)

CASES = "benchmarks.records_cases"
# The job waits until the disk holds its records, which a plain loop does not. In memory, a slow
# minute of the disk is not taken for slowness of the job.
MEMORY = "/dev/shm"


def main() -> None:
    """Make the images, measure, print the table."""
    parser = repeats_parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=int, default=4000, help="N, images of about 160 KB (default: 4000)"
    )
    parser.add_argument(
        "--work_dir", default=MEMORY, help=f"folder with 4 GB of room (default: {MEMORY})"
    )
    parser.add_argument("--only", choices=sorted(PARTS), help="one part (default: all of them)")
    options = parser.parse_args()
    if not os.path.isdir(options.work_dir):
        parser.error(f"--work_dir={options.work_dir}: no such folder")
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=options.work_dir, prefix="bench-records-") as folder:
        work = Path(folder)
        for name, n in (("n", options.images), ("2n", 2 * options.images)):
            make_coco_folder(work / name, n)
        make_coco_folder(work / "full", COCO_IMAGES, with_images=False)
        for name, part in PARTS.items():
            if options.only in (None, name):
                part(work, options.images, options.repeats)


def writers(work: Path, n: int, repeats: int) -> None:
    """Compare the job with a plain loop and with Beam; with worker processes and decoding too."""
    one_worker = ["--direct_running_mode=multi_processing", "--direct_num_workers=1"]
    two_workers = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    strict = {"verify": "decode"}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "the job": ("write_job", {}),
        "plain TFRecordWriter loop": ("write_loop", {}),
        "Beam's Reshuffle | WriteToTFRecord": ("write_beam", {}),
        "the job, 1 worker process": ("write_job", {"beam_args": one_worker}),
        "the job, 2 worker processes": ("write_job", {"beam_args": two_workers}),
        "the job, --verify=decode, 1 process": (
            "write_job",
            {"beam_args": one_worker, "flags": strict},
        ),
        "the job, --verify=decode, 2 processes": (
            "write_job",
            {"beam_args": two_workers, "flags": strict},
        ),
    }
    cases = {
        f"{label}, {size}": (
            case,
            {"data_dir": str(work / size), "output_dir": f"{work}/out"} | arguments,
        )
        for label, (case, arguments) in kinds.items()
        for size in ("n", "2n")
    }
    measured = interleaved(CASES, cases, repeats, usable_cores())
    base = _marginal(measured, "plain TFRecordWriter loop", n)
    rows = []
    for label in kinds:
        small, large = measured[f"{label}, n"], measured[f"{label}, 2n"]
        rate = _marginal(measured, label, n)
        numbers = (
            f"{large.seconds:.2f} {large.spread:.0%} {large.n / large.seconds:,.0f} {rate:,.0f}"
            f" {rate / base:.2f} {large.peak_mb:,.0f} {large.peak_mb - small.peak_mb:+,.0f}"
        )
        rows.append([label, *numbers.split()])
    header = ["", "s", "spread", "img/s", "marginal img/s", "of the loop", "peak MB", "N to 2N"]
    print(table(f"writing {2 * n:,} images (N = {n:,})", header, rows), flush=True)


def _marginal(measured: Mapping[str, Measurement], label: str, n: int) -> float:
    """Return the images per second, start-up left out."""
    return n / max(1e-9, measured[f"{label}, 2n"].seconds - measured[f"{label}, n"].seconds)


def metadata(work: Path, _: int, repeats: int) -> None:
    """Measure what happens before the first image is opened, at COCO's size."""
    data = {"data_dir": str(work / "full")}
    cases = {
        "the job up to its shard writers": ("metadata_job", data),
        "plain json and Counter": ("metadata_plain", data),
    }
    measured = interleaved(CASES, cases, repeats, usable_cores())
    base = measured["plain json and Counter"]
    rows = []
    for label, m in measured.items():
        ratio = m.seconds / base.seconds
        numbers = f"{m.seconds:.1f} {m.spread:.0%} {ratio:.2f} {m.peak_mb:,.0f}"
        rows.append([label, *numbers.split()])
    title = f"metadata of {COCO_IMAGES:,} images, {base.n:,.0f} captions"
    print(table(title, ["", "s", "spread", "of plain", "peak MB"], rows), flush=True)


def features(work: Path, _: int, repeats: int) -> None:
    """Compare the job's frozen encoder with Keras' `predict`, on one core."""
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
    measured = interleaved(CASES, cases, repeats, usable_cores()[:1])
    rows = []
    for label, m in measured.items():
        ratio = measured[f"{label.split(':')[0]}: {base}"].seconds / m.seconds
        numbers = f"{m.n / m.seconds:.1f} {m.spread:.0%} {ratio:.2f} {m.peak_mb:,.0f}"
        rows.append([label, *numbers.split()])
    print(table("features, one core", ["", "img/s", "spread", "of predict", "peak MB"], rows))


def reading(work: Path, n: int, repeats: int) -> None:
    """Compare an epoch of each kind of shard, as the trainer reads it."""
    kinds = {
        "one pair a record, images": {"captions_per_record": 1},
        "images": {},
        "features (mobilenet_v2)": {"features": "mobilenet_v2", "encoder_weights": "random"},
    }
    for label, flags in kinds.items():
        arguments = {"data_dir": str(work / "n"), "output_dir": f"{work}/{label}", "flags": flags}
        interleaved(CASES, {f"building: {label}": ("build", arguments)}, 1, usable_cores())
    cases = {label: ("read", {"records_dir": f"{work}/{label}"}) for label in kinds}
    measured = interleaved(CASES, cases, repeats, usable_cores())
    base = next(iter(measured.values()))
    rows = []
    for label, m in measured.items():
        rate = m.n / m.seconds
        numbers = f"{rate:,.0f} {m.spread:.0%} {rate * base.seconds / base.n:.1f} {m.peak_mb:,.0f}"
        rows.append([label, *numbers.split()])
    header = ["", "pairs/s", "spread", "of pairs", "peak MB"]
    print(table(f"reading {n:,} images' captions, decoded", header, rows), flush=True)


def training(work: Path, n: int, repeats: int) -> None:
    """Compare training from images, which runs the encoder in every step, and from features."""
    cases = {}
    for encoder, steps in (("nasnet_large", 4), ("mobilenet_v2", 16)):
        make_coco_folder(work / encoder, 16 * steps)
        kinds = {"images": {}, "features": {"features": encoder, "encoder_weights": "random"}}
        for kind, flags in kinds.items():
            records = f"{work}/{encoder} {kind}"
            arguments = {"data_dir": str(work / encoder), "output_dir": records, "flags": flags}
            interleaved(CASES, {f"building: {records}": ("build", arguments)}, 1, usable_cores())
            few = steps if kind == "images" else 30
            arguments = {"records_dir": records, "encoder": encoder, "steps": few}
            cases[f"{encoder}: {kind}"] = ("training", arguments)
    measured = interleaved(CASES, cases, repeats, usable_cores())
    rows = []
    for label, m in measured.items():
        images = measured[f"{label.split(':')[0]}: images"]
        ratio = images.seconds / images.n * m.n / m.seconds
        numbers = f"{m.n / m.seconds:.1f} {m.spread:.0%} {ratio:.1f} {m.cores:.2f} {m.peak_mb:,.0f}"
        rows.append([label, *numbers.split()])
    header = ["", "img/s", "spread", "of images", "cores busy", "peak MB"]
    print(table("training, 16 images with their captions a step, bfloat16", header, rows))


PARTS = {part.__name__: part for part in (writers, metadata, features, reading, training)}


if __name__ == "__main__":
    main()
