"""Caption image files: `python -m serving.caption --run_dir=RUN photo.jpg more/*.png`.

Prints `PATH<TAB>caption` for each. A file that is no image is named on stderr, the others are
captioned, and the exit code is 1.

Flags of the training are listed, too, so that its flagfile serves here; flags that contradict how
the run was trained are refused.
"""

import dataclasses
import os
import sys
from typing import Any

import cli.start_tensorflow  # noqa: F401  before TensorFlow

# isort: split
import numpy as np
from absl.flags import FlagValues

from artifacts import recipe as recipes
from artifacts import run_config
from artifacts.recipe import Recipe
from artifacts.run_config import RunConfig
from captioning import attention_picture, devices, image_file, run_search
from captioning.attention_picture import PicturedCaption
from captioning.devices import DeviceOptions
from captioning.given_files import GivenFiles
from captioning.job import caption_at_once
from captioning.replica import Outcome, Wanted
from captioning.search_options import BeamSearch, Sampling, Search
from cli import flags, paths
from cli.command import run
from cli.errors import UsageError, UserError
from cli.flags import flag
from model.definition.attention import ATTENTIONS
from model.definition.decoder import first_attending

BATCH = 16
_SAMPLING_FLAGS = ("temperature", "top_k", "top_p")
# Flags that this command and the recipe have.
_SHARED = ("run_dir", "seed", "attention")
DRAWN_SIDE = 448  # pixels; more would show nothing more of a grid of 7 x 7


@dataclasses.dataclass(frozen=True)
class CaptionOptions:
    """Which run captions, and what it draws. Every field is a flag."""

    run_dir: str = flag(
        "",
        "Folder of the run whose best weights caption; several runs, separated by commas, caption"
        " together as an ensemble.",
    )
    attention: str = flag(
        "",
        "PNG file to draw: each image with the attention of each word of its caption, or once where"
        " every word looks at the same places. In the flagfile of a training it is the attention"
        " that was trained, and draws nothing.",
    )


def define_flags(values: FlagValues) -> None:
    """Declare the flags of this command.

    Args:
        values: Where to declare them.
    """
    for options in (CaptionOptions, BeamSearch, Sampling, DeviceOptions):
        flags.define(options, values)
    # So that the flagfile of a training serves here, too.
    flags.define(Recipe, values, without=_SHARED)


def main(values: FlagValues, files: list[str]) -> int:
    """Caption files.

    Args:
        values: Parsed flags.
        files: The paths of the images.

    Returns:
        The exit code: 1 when a file could not be read.
    """
    options = flags.read(CaptionOptions, values)
    if not options.run_dir:
        raise UsageError("--run_dir is missing: the folder of a trained run")
    if not files:
        raise UsageError("no image files given: name at least one, as in `... photo.jpg`")
    run_dirs, configs = run_config.read_all(options.run_dir)
    options, recipe = _without_recipe(options, values)
    for config in configs:
        recipes.refuse_contradictions(config.training, recipe, devices.REMEDIES)
    search = _search(values, run_dirs, configs)
    looking = first_attending(config.model.decoder for config in configs)
    if options.attention and looking is None:
        raise UsageError(
            f"--attention={options.attention}: {options.run_dir} was trained with --attention=none:"
            " there is no attention to draw; leave out the flag"
        )
    _refuse_unwritable(options.attention)
    # A quoted ~ is not expanded by the shell.
    files = [file if os.path.lexists(file) else os.path.expanduser(file) for file in files]
    source = GivenFiles(files, min(BATCH, len(files)))
    wanted = Wanted(attention=bool(options.attention))
    precision = flags.read(DeviceOptions, values).caption_precision
    pictured, unreadable = [], 0
    for outcome in caption_at_once(run_dirs, source, search, wanted, _say, precision):
        if outcome.problem is not None:
            name = outcome.image.name
            print(f"error: {name}: {outcome.problem}{_remedy(name)}", file=sys.stderr)
            unreadable += 1
            continue
        print(f"{outcome.image.name}\t{outcome.captions[0].text}", flush=True)
        if outcome.captions[0].cut:
            why = f"cut at {search.max_words} words; --max_words=N allows more"
            print(f"warning: {outcome.image.name}: {why}", file=sys.stderr)
        if options.attention:
            pictured.append(_pictured(outcome))
    if pictured:
        _draw(options.attention, pictured)
        whose = f" (attention of {run_dirs[looking or 0]})" if len(run_dirs) > 1 else ""
        print(f"picture: {options.attention}{whose}", file=sys.stderr)
    return 1 if unreadable else 0


def _draw(path: str, pictured: list[PicturedCaption]) -> None:
    """Draw the picture, or raise a UserError where it cannot be written."""
    try:
        attention_picture.draw(path, pictured)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def _without_recipe(
    options: CaptionOptions, values: FlagValues
) -> tuple[CaptionOptions, dict[str, Any]]:
    """Return the options without what a training's flagfile says, and the recipe's flags in it.

    Raises:
        UsageError: A flagfile takes the place of the picture.
    """
    # The recipe's `seed` is also that of --sample.
    recipe = {name: v for name, v in flags.given(Recipe, values).items() if name not in _SHARED}
    if options.attention not in ATTENTIONS:
        return options, recipe
    if values["attention"].present > 1:
        raise UsageError(
            f"--attention={options.attention} of a flagfile takes the place of an earlier"
            " --attention: give --flagfile first and then --attention=PNG"
        )
    recipe["attention"] = options.attention
    return dataclasses.replace(options, attention=""), recipe


def _remedy(name: str) -> str:
    """Return what to do about a path that is no readable image, where that is plain."""
    if os.path.isdir(name):
        return f"; `python -m evaluation.main --images={name}` captions a folder"
    return "" if os.path.lexists(name) else paths.suggest(name)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _search(values: FlagValues, run_dirs: list[str], configs: list[RunConfig]) -> Search:
    """Return how to search, and print in what the runs differ.

    Raises:
        UsageError: Flags of two ways to search are given.
    """
    given, sampling = flags.given(BeamSearch, values), flags.read(Sampling, values)
    beam, remarks = run_search.of_runs(run_dirs, configs, given)
    for remark in remarks:
        print(f"warning: {remark}", file=sys.stderr)
    others = ("beam_size", "length_penalty") if sampling.sample else _SAMPLING_FLAGS
    for name in others:
        if values[name].present:
            why = "contradicts --sample" if sampling.sample else "needs --sample"
            raise UsageError(f"--{name} {why}")
    if not sampling.sample:
        return beam
    return dataclasses.replace(
        sampling,
        no_repeat_ngram=beam.no_repeat_ngram,
        min_length=beam.min_length,
        max_words=beam.max_words,
    )


def _pictured(outcome: Outcome) -> PicturedCaption:
    """Return a caption with its image as a person sees it, at most `DRAWN_SIDE` pixels long."""
    file = image_file.read(outcome.image.name)
    pixels = np.asarray(image_file.picture(file.encoded, file.orientation, DRAWN_SIDE))
    caption = outcome.captions[0]
    assert caption.attention is not None
    return PicturedCaption(pixels, caption.text, caption.words, caption.attention)


def _refuse_unwritable(path: str) -> None:
    """Refuse a picture that could not be written, before the work and not after it."""
    if path and os.path.isdir(path):
        raise UserError(f"--attention={path}: a folder; give the name of a PNG to write")
    if path and not path.lower().endswith(".png"):
        raise UsageError(f"--attention={path}: the picture is a PNG; give a name that ends in .png")
    folder = os.path.dirname(os.path.abspath(path)) if path else None
    if folder and not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise UserError(f"--attention={path}: there is no folder {folder} that can be written to")


if __name__ == "__main__":
    run(main, define_flags, others="positional")
