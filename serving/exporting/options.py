"""The flags of the export, beside those of the search."""

import dataclasses

from captioning.search_options import BeamSearch
from cli import paths
from cli.errors import UsageError
from cli.flags import flag
from records.schema import SPLITS

NONE, FLOAT16, INT8 = QUANTIZE = ("none", "float16", "int8")
_N_BEST = 3


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """What to export. Every field is a flag."""

    run_dir: str = flag("", "Folder of the run whose best weights go into the bundle.")
    output_dir: str = flag(
        "",
        "Folder of the bundle; an earlier bundle there is replaced when the new one is complete.",
    )
    n_best: int | None = flag(
        None,
        f"Captions of each image, 1 to --beam_size; by default {_N_BEST}, or --beam_size if that is"
        " less.",
        at_least=1,
    )
    quantize: str = flag(
        "none",
        "How model.tflite stores its weights: float32 gives the captions of the run; float16 takes"
        " half of the space and changes a few; int8, of the decoder alone, changes some more.",
        choices=QUANTIZE,
    )
    golden: str = flag(
        "",
        "Images of yours that go into the bundle with their captions, beside drawings of ours:"
        " files, folders, globs in quotes or .jsonl lists, separated by commas.",
    )
    licence: str = flag(
        "", "Under which terms the bundle may be used: a phrase for its card.", literal=True
    )
    verify: bool = flag(
        True,
        "Caption the golden images in fresh processes, in every way that a bundle can be run, and"
        " refuse to write a bundle that gives other captions than the run.",
    )
    records_dir: str = flag(
        "",
        "Records on which the captions of model.tflite are compared with those of the run and"
        " scored; the scores go into the card. By default nothing is scored.",
    )
    split: str = flag("val", "Split of --records_dir to score.", choices=SPLITS)
    images_dir: str = flag(
        "",
        "With --records_dir: folder of the image files, for records that hold features without"
        " images.",
    )

    def check(self) -> None:
        """Refuse options that miss something.

        Raises:
            UsageError: --run_dir or --output_dir is missing, or --images_dir has no use.
        """
        if not self.run_dir:
            raise UsageError("--run_dir is missing: the folder of a trained run")
        if not self.output_dir:
            raise UsageError("--output_dir is missing: the folder to write the bundle to")
        paths.require_local("output_dir", self.output_dir)
        if self.images_dir and not self.records_dir:
            raise UsageError("--images_dir needs --records_dir: it names the images of records")

    def with_n_best(self, search: BeamSearch) -> BeamSearch:
        """Return a search with the number of captions that the bundle gives.

        Args:
            search: The search.

        Raises:
            UsageError: --n_best is more than --beam_size.
        """
        n_best = self.n_best or min(_N_BEST, search.beam_size)
        if n_best > search.beam_size:
            raise UsageError(f"--n_best={n_best} needs --beam_size={n_best} at least")
        return dataclasses.replace(search, n_best=n_best)
