"""METEOR with a handful of paraphrases: to load its own five million takes ten seconds of CPU."""

import gzip
import itertools
import shutil
from pathlib import Path

from pycocoevalcap.meteor import meteor

PHRASES = (("runs", "is running"), ("in the", "near the"), ("the beach", "the sea"))


def write_small_meteor(folder: Path) -> None:
    """Write the program's own jar, as meteor.jar, beside a small table."""
    (folder / "data").mkdir(parents=True)
    shutil.copy(Path(meteor.__file__).with_name(meteor.METEOR_JAR), folder / "meteor.jar")
    with gzip.open(folder / "data" / "paraphrase-en.gz", "wt") as table:
        for pair in PHRASES:
            for phrase, paraphrase in itertools.permutations(pair):
                table.write(f"0.5\n{phrase}\n{paraphrase}\n")
