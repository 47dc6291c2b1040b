"""The embedded data set of drawn scenes: COCO 2017's layout, with a test split."""

from cli.errors import UserError
from pipeline.datasets import coco
from pipeline.storage import files
from records.schema import SPLITS
from scenes import dataset

IDS = "own"
read, read_image, image_size = coco.read, coco.read_image, coco.image_size


def prepare(data_dir: str, n_images: int, seed: int) -> None:
    """Draw the scenes, unless these very ones lie there.

    Raises:
        UserError: they cannot be written there.
    """
    if not files.is_local(data_dir):
        raise UserError(f"--data_dir={data_dir}: scenes are drawn into a local folder only")
    dataset.write(data_dir, n_images, seed)


def splits(data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
    """train, val and test."""
    return [s for s in SPLITS if files.exists(coco.annotations(data_dir, s))], []
