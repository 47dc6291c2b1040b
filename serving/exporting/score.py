"""How well a bundle's model.tflite captions a split of records, beside the run in float32."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from artifacts import provenance
from artifacts.run_config import DataConfig
from artifacts.run_folder import RunFolder
from captioning.records_source import RecordsSource
from captioning.replica import BatchSizes, Outcome, Replica, Wanted
from captioning.search_options import BeamSearch
from captioning.source import Part, SourceImage
from cli.errors import UserError
from cli.progress import bar
from metrics.names import CIDER
from model.encoder import Encoder
from pixels import orientation, standard
from pixels.formats import BadImageError
from pixels.square import square
from records import language
from records.manifest import DatasetInfo
from records.split_files import open_split
from serving.bundle.runtime import Runtime
from serving.exporting.options import ExportOptions
from serving.exporting.reference import CPU, FLOAT32

_PART = 256
_SIZES = BatchSizes(16, 64)


class _Pixels:
    """A split whose images are decoded, whatever features lie beside them (`source.ImageSource`).

    Args:
        records: The split.
        images_dir: Where the image files lie that records hold features of only.
    """

    may_reject = False

    def __init__(self, records: RecordsSource, images_dir: str):
        self._records, self._images_dir = records, images_dir
        self.parts, self.images = records.parts, records.images

    def read(self, part: Part) -> Iterator[SourceImage]:
        """Yield the images of a part.

        Raises:
            UserError: An image file is missing.
        """
        for image in self._records.read(part):
            light = image._replace(features=None)
            if image.encoded is None:
                light = light._replace(name=self._file(image.name))
            yield light

    def holds_features(self, encoder: Encoder, data: DataConfig) -> bool:
        """Tell that no features are taken."""
        return False

    def _file(self, name: str) -> str:
        if not self._images_dir:
            raise UserError(
                "the records hold features and no images, and a bundle captions images: name the"
                " folder of the image files with --images_dir"
            )
        path = os.path.join(self._images_dir, name)
        inside = os.path.realpath(path).startswith(os.path.realpath(self._images_dir) + os.sep)
        if not inside or not os.path.isfile(path):
            raise UserError(
                f"--images_dir={self._images_dir}: there is no file {name}, which the records"
                " name; expected the folder that the records were built from"
            )
        return path


class Scored(NamedTuple):
    """Captions of a split, by image id.

    Attributes:
        info: The manifest of the records.
        run: The run's captions in float32.
        lite: Those of model.tflite.
        references: Those that people wrote.
        stamp: What every score must say where images were trained on, else "".
    """

    info: DatasetInfo
    run: dict[int, str]
    lite: dict[int, str]
    references: dict[int, list[str]]
    stamp: str

    @property
    def same(self) -> float:
        """The share of images whose captions are the same."""
        return sum(self.run[i] == self.lite[i] for i in self.run) / len(self.run)

    def as_json(self, split: str) -> dict[str, Any]:
        """Return the scores of both, with their intervals.

        Args:
            split: The name of the split.

        Raises:
            UserError: The packages that score are not installed.
        """
        official, summary = _metrics()
        tag = self.info.flags.language or language.ENGLISH
        run, lite = official.evaluate_together(
            self.references, [self.run, self.lite], language=language.checked(tag)
        )
        names = {"run": run, "lite": lite}
        return {
            "dataset": self.info.dataset,
            "split": split,
            "images": len(self.run),
            "contamination": self.stamp or None,
            "language": tag,
            **{
                name: {key: summary.of(scores).as_json()[key] for key in ("metrics", "intervals")}
                for name, scores in names.items()
            },
        }


def of_split(
    run_dir: str, options: ExportOptions, search: BeamSearch, lite: Runtime, size: int
) -> dict[str, Any]:
    """Caption a split with the run in float32 and with model.tflite, and score both.

    Args:
        run_dir: The run.
        options: The flags of the export; they name the split.
        search: How to search.
        lite: The LiteRT runtime of the bundle.
        size: Side of the square that it takes, pixels.

    Returns:
        `same_as_run`, the share of images that get the same caption; `cider`, that of
        model.tflite; and `scored`, the scores of both.

    Raises:
        UserError: The records cannot be read, or hold no images.
    """
    scored = _caption(run_dir, options, search, lite, size)
    print(
        f"model.tflite gives the caption of the run for {scored.same:.1%} of"
        f" {len(scored.run):,} images of {options.split}",
        flush=True,
    )
    scores = scored.as_json(options.split)
    return {"same_as_run": scored.same, "cider": _cider_of(scores["lite"]), "scored": scores}


def check(options: ExportOptions) -> None:
    """Refuse records that cannot be scored, before the work.

    Args:
        options: The flags of the export; they name the split.

    Raises:
        UserError: The records cannot be read or hold no images, or packages are missing.
    """
    _metrics()
    _, source = _open(options)
    for part in source.parts[:1]:
        next(source.read(part))


def _open(options: ExportOptions) -> tuple[DatasetInfo, _Pixels]:
    info, files = open_split(options.records_dir, options.split)
    return info, _Pixels(RecordsSource(files, info, _PART), options.images_dir)


def _caption(
    run_dir: str, options: ExportOptions, search: BeamSearch, lite: Runtime, size: int
) -> Scored:
    info, source = _open(options)
    contamination = provenance.find_contamination(
        provenance.read_all(RunFolder(run_dir)), info, options.split
    )
    replica = Replica(CPU, [run_dir], source, search, Wanted(encoded=True), FLOAT32)
    scored = Scored(info, {}, {}, {}, contamination.stamp if contamination else "")

    def lite_caption(outcome: Outcome) -> str:
        captions = lite.caption(_pixels(outcome.image, size)[None])[0]
        return captions[0].text if captions else ""

    with (
        ThreadPoolExecutor(1) as decoder,
        ThreadPoolExecutor(lite.parallel) as pool,
        bar(source.images, f"captioning {options.split}", "img") as progress,
    ):
        outcomes = replica.outcomes(iter(source.parts), _SIZES, decoder)
        while batch := list(islice(outcomes, _SIZES.search)):
            for outcome, text in zip(batch, pool.map(lite_caption, batch), strict=True):
                image = outcome.image
                assert image.image_id is not None  # records have ids
                scored.run[image.image_id] = outcome.captions[0].text
                scored.lite[image.image_id] = text
                scored.references.setdefault(image.image_id, []).extend(image.references)
                progress.update()
    return scored


def _pixels(image: SourceImage, size: int) -> np.ndarray:
    """Read an image as the server reads it."""
    content = image.encoded
    try:
        if content is None:
            with open(image.name, "rb") as file:
                content = file.read()
        pixels = square(content, size)
        # A record that was re-encoded keeps its orientation beside the image.
        if image.encoded and standard.read(content).orientation != image.orientation:
            pixels = orientation.upright(pixels, image.orientation)
    except (OSError, BadImageError) as error:
        raise UserError(f"{image.name}: {error}") from None
    return pixels


def _metrics() -> tuple[Any, Any]:
    """Import what scores; it is no part of the extra `serve`."""
    try:
        from metrics import official
        from metrics.summary import Summary
    except ModuleNotFoundError as error:
        raise UserError(
            f"--records_dir scores captions, and {error.name} is not installed: run"
            " `pip install '.[train]'` in the folder of this program"
        ) from None
    return official, Summary


def _cider_of(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {"score": scores["metrics"][CIDER], "interval": scores["intervals"].get(CIDER)}
