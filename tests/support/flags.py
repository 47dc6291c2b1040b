"""The flags of a build, as a manifest records them."""

from typing import Any

from records.recorded_flags import RecordedFlags

FLAGS = {
    "store": "image",
    "captions_per_record": 0,
    "max_caption_words": 21,
    "verify": "header",
    "encoder_weights": None,
    "scenes_images": 3000,
    "scenes_seed": 1,
}


def recorded_flags(**changes: Any) -> RecordedFlags:
    """Return recorded flags with these values; others are those of a build of images."""
    return RecordedFlags.from_values(FLAGS | changes)
