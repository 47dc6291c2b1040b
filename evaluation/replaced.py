"""Of which images the results in an output folder are, so that no others replace them silently."""

import json
import os

from captioning.parts import unwritable
from cli import atomic_file
from records.canonical_json import to_json

_SOURCES = os.path.join("parts", "sources.json")


def announce(output_dir: str, results: str, source: str) -> None:
    """Print which earlier results are about to be replaced, where they are those of other images.

    Args:
        output_dir: The folder of the evaluation.
        results: The file of results, as "captions.jsonl".
        source: The flags that name the images, as "--images=/photos".
    """
    earlier = _read(output_dir).get(results)
    if earlier not in (None, source) and os.path.exists(os.path.join(output_dir, results)):
        print(f"starting anew: {source}; the results of {earlier} in {output_dir} are replaced")


def note(output_dir: str, results: str, source: str) -> None:
    """Keep of which images the results are.

    Args:
        output_dir: As for `announce`.
        results: As for `announce`.
        source: As for `announce`.

    Raises:
        UserError: The note cannot be written.
    """
    path = os.path.join(output_dir, _SOURCES)
    try:
        atomic_file.write(path, to_json(_read(output_dir) | {results: source}))
    except OSError as error:
        raise unwritable(path, error) from None


def _read(output_dir: str) -> dict[str, str]:
    try:
        with open(os.path.join(output_dir, _SOURCES), "rb") as file:
            sources = json.load(file)
    except (OSError, ValueError):  # There is none, or it is damaged.
        return {}
    return sources if isinstance(sources, dict) else {}
