"""The flags that a data set was built with, as its manifest keeps them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from cli.errors import UserError

# Raise it when a flag that `RecordedFlags` names gets another name or another meaning.
FLAGS_VERSION = 1


@dataclasses.dataclass(frozen=True)
class RecordedFlags:
    """The flags of a build that readers of its records need.

    Attributes:
        store: What a record holds: "image", "features" or "both".
        captions_per_record: Captions in a record; 0 for all captions of the image.
        max_caption_words: Most words of a train caption; 0 for no limit.
        verify: How far images were checked: "header" or "decode".
        encoder_weights: `imagenet`, `random` or a file; None without features.
        scenes_images: Number of drawn scenes, if scenes were built.
        scenes_seed: Seed of the drawn scenes.
        every: Flag name -> value of all flags of the build, for people and for the manifest.
        language: Language tag of the captions; None where nobody said it.
        max_vocabulary: Most words of a vocabulary that was built, beside the special ones; 0 for
            no limit, which manifests do not mention.
    """

    store: Literal["image", "features", "both"]
    captions_per_record: int
    max_caption_words: int
    verify: Literal["header", "decode"]
    encoder_weights: str | None
    scenes_images: int
    scenes_seed: int
    every: Mapping[str, Any]
    language: str | None = None
    max_vocabulary: int = 0

    @classmethod
    def from_values(cls, every: Mapping[str, Any]) -> "RecordedFlags":
        """Take what readers need from all flags of a build.

        Args:
            every: Flag name -> value; flags that are unknown here are kept in `every`.

        Raises:
            KeyError: A flag that readers need is missing.
        """
        values = {
            field.name: every[field.name]
            for field in dataclasses.fields(cls)
            if field.name != "every"
            and (field.name in every or field.default is dataclasses.MISSING)
        }
        return cls(every=every, **values)

    @classmethod
    def from_json(cls, every: Mapping[str, Any], version: int, where: str) -> "RecordedFlags":
        """Read the flags of a manifest, whichever version of this program has built the data set.

        Args:
            every: All flags in the manifest.
            version: Version of the flags in the manifest.
            where: Path of the manifest, for messages.

        Raises:
            UserError: Another version has recorded the flags in a way unknown here.
        """
        if version != FLAGS_VERSION:
            raise UserError(
                f"{where}: lists the build's flags in version {version}, this program reads"
                f" {FLAGS_VERSION}; build the records again"
            )
        try:
            return cls.from_values(every)
        except KeyError as error:
            raise UserError(
                f"{where}: the build's flags lack {error}, which this program needs; build the"
                " records again"
            ) from None
