"""What the benchmark reads on a machine without a network, made on one with Beam.

    python -m benchmarks.gpu.prepare --output_dir=DIR --run_dir=RUN --records_dir=RECORDS

`make demo` leaves such a run and its records. DIR can be packed well: its images repeat.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import cli.start_tensorflow  # noqa: F401, before TensorFlow
from benchmarks.coco_folder import make_coco_folder
from benchmarks.gpu.whole import ENCODER
from model.encoder import Encoder


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--output_dir", required=True, type=Path, help="new folder to write")
    parser.add_argument("--run_dir", required=True, help="trained run whose captions are compared")
    parser.add_argument("--records_dir", required=True, help="records of that run")
    parser.add_argument(
        "--images", type=int, default=1600, help="images to train on (default: 1600)"
    )
    options = parser.parse_args()
    folder = options.output_dir
    folder.mkdir(parents=True)
    make_coco_folder(folder / "coco", options.images)
    weights = folder / f"{ENCODER}.weights.h5"
    Encoder(ENCODER).network.save_weights(weights)
    words = "--min_word_count=1"  # as many as COCO's captions have
    for name, more in {
        "images": [],
        "features": [f"--features={ENCODER}", f"--encoder_weights={weights}"],
    }.items():
        subprocess.run(
            [
                *(sys.executable, "-m", "pipeline.build_records", "--runner=DirectRunner"),
                *("--dataset=coco2017", f"--data_dir={folder}/coco", "--train_shards=8", words),
                *(f"--output_dir={folder}/{name}", *more),
            ],
            check=True,
        )
    shutil.rmtree(folder / "coco")
    shutil.copytree(options.records_dir, folder / "records")
    unused = shutil.ignore_patterns("step-*", "events", "evaluation", "samples", "*.png")
    shutil.copytree(options.run_dir, folder / "run", ignore=unused)


if __name__ == "__main__":
    main()
