"""What a user says about a source beside its name and its folder."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from cli.errors import UsageError
from cli.flags import flag


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """Options of sources; every field is a flag of the build.

    A source names the options that it reads (`DataSource.reads`). They travel to the workers, and
    the manifest records them.
    """

    train_annotations: str | None = flag(
        None,
        "File with the captions of the train split: its path, or where it lies below --data_dir. So"
        " do the other flags of annotations and images.",
    )
    train_images: str | None = flag(None, "Folder of the images that --train_annotations names.")
    val_annotations: str | None = flag(None, "File with the captions of the val split.")
    val_images: str | None = flag(None, "Folder of the images that --val_annotations names.")
    test_annotations: str | None = flag(None, "File with the captions of the test split.")
    test_images: str | None = flag(None, "Folder of the images that --test_annotations names.")
    image_column: str | None = flag(
        None, "Column of the images: its name, or its number from 1. By default it is found."
    )
    caption_column: str | None = flag(
        None,
        "Column of the captions, or several with commas between them: names, or numbers from 1. By"
        " default it is found.",
    )
    split_column: str | None = flag(
        None, "Column of the splits: its name, or its number from 1. By default it is found."
    )
    separator: str | None = flag(
        None, "Character between two columns, or `tab`. By default it is found.", literal=True
    )
    val_fraction: float = flag(
        0.0,
        "Fraction of the train images to put into val instead, 0 to 1. The name of an image"
        " decides, so that new images move no other.",
        at_least=0,
        at_most=1,
    )
    test_fraction: float = flag(
        0.0,
        "Fraction of the train images to put into test instead, 0 to 1.",
        at_least=0,
        at_most=1,
    )

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> "SourceOptions":
        """Take the options from the flags of a build; those that are missing have no value.

        Args:
            values: Flag name -> value, among others that are no options of a source.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})

    def given(self) -> dict[str, Any]:
        """Return the options that have a value: name -> value."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    def check(self) -> None:
        """Check what concerns several options.

        Raises:
            UsageError: The fractions leave nothing for train.
        """
        if self.val_fraction + self.test_fraction >= 1:
            raise UsageError(
                f"--val_fraction={self.val_fraction:g} and --test_fraction={self.test_fraction:g}"
                " leave no image for train: their sum must be below 1"
            )


# Options that are paths.
PATHS = tuple(
    f"{split}_{what}" for split in ("train", "val", "test") for what in ("annotations", "images")
)
# Options of every source that divides its images itself.
FRACTIONS = ("val_fraction", "test_fraction")
