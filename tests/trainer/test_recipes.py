"""Every flagfile is a recipe that runs: its flags, its header's commands, and their results."""

import collections
import dataclasses
import json
from pathlib import Path

import pytest

from artifacts.recipe import Recipe
from benchmarks.recipes import header
from captioning.search_options import BeamSearch
from cli import command, flags
from evaluation import main as evaluate
from model.definition.decoder import Decoder
from model.encoder import ENCODERS
from pipeline import build_records
from pipeline.build_flags import BuildFlags
from pipeline.prepare import default_output_dir
from serving import caption
from tests.support.commands import ROOT, run_process
from trainer import main as train

FLAGFILES = ["coco.flags", *sorted(f"flags/{path.name}" for path in ROOT.glob("flags/*.flags"))]
# Their headers say what an earlier system was, and how the recipe differs from it.
EARLIER = [name for name in FLAGFILES if "# What differs" in (ROOT / name).read_text()]
BUILD, TRAIN, EVALUATE, CAPTION = (
    *("pipeline.build_records", "trainer.main", "evaluation.main", "serving.caption"),
)
COMMANDS = {
    BUILD: (build_records.define_flags, "passed"),
    TRAIN: (train.define_flags, "refused"),
    EVALUATE: (evaluate.define_flags, "refused"),
    CAPTION: (caption.define_flags, "positional"),
}
# Sizes of a run that takes a moment, in place of the recipe's own.
SMALL = {
    "encoder": "small_cnn",
    "encoder_weights": "random",
    "rnn_units": 24,
    "embedding_dim": 16,
    "epochs": 4,
    "batch_size": 2,
    "learning_rate": 5e-3,
}


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    """Run where the headers' commands are run."""
    monkeypatch.chdir(ROOT)


def parse(module: str, *arguments: str):
    """Parse the arguments of a command with its flags; returns (values, other arguments)."""
    define, others = COMMANDS[module]
    return command.parse([module, *arguments], define, others=others)


def read(flagfile: str) -> Recipe:
    return flags.read(Recipe, parse(TRAIN, f"--flagfile={flagfile}")[0])


def lines(flagfile: str) -> list[str]:
    """Return the flags of a file, one a line."""
    text = (ROOT / flagfile).read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_earlier_systems_are_there():
    assert {Path(name).stem for name in EARLIER} == {
        "inception_coco",
        "inception_flickr8k",
        "init_state_inception",
        "nasnet_coco_faithful",
        "resnet_cached",
        "show_and_tell_inception",
        "show_attend_tell",
    }


@pytest.mark.parametrize("flagfile", FLAGFILES)
def test_training_evaluation_and_captioning_take_a_flagfile(flagfile):
    for module in (TRAIN, EVALUATE, CAPTION):
        values, others = parse(module, f"--flagfile={flagfile}")
        assert not others
        assert values["run_dir"].value.startswith("runs/"), module


@pytest.mark.parametrize("flagfile", FLAGFILES)
def test_a_flagfile_says_each_flag_once(flagfile):
    names = collections.Counter(line.lstrip("-").partition("=")[0] for line in lines(flagfile))
    assert not {name for name, count in names.items() if count > 1}
    assert not {name for name in names if name.startswith("no") and name[2:] in names}


@pytest.mark.parametrize("flagfile", FLAGFILES)
def test_a_model_is_made_for_its_encoder(flagfile):
    recipe = dataclasses.replace(read(flagfile), precision="float32")
    config = recipe.model(vocabulary_size=50).decoder
    small = {"rnn_units": 4, "embedding_dim": 4, "attention_units": 4}
    decoder = Decoder(dataclasses.replace(config, **small))
    assert decoder.config.feature_depth == ENCODERS[recipe.encoder].grid[2]
    search = flags.read(BeamSearch, parse(TRAIN, f"--flagfile={flagfile}")[0])
    assert search.min_length < search.max_words


@pytest.mark.parametrize("flagfile", FLAGFILES)
def test_the_commands_of_a_header_are_those_of_the_program(flagfile):
    for module, *arguments in header.commands(flagfile):
        _, others = parse(module, *arguments)
        # What a build does not know goes to Beam, and what captioning does not know are images.
        known = {BUILD: ["--runner=DirectRunner"], CAPTION: ["photo.jpg"]}
        assert others == known.get(module, []), module


@pytest.mark.parametrize("flagfile", sorted({*FLAGFILES} - {"flags/demo.flags"}))
def test_a_header_agrees_with_its_flags(flagfile):
    recipe = read(flagfile)
    if recipe.self_critical:
        (first,) = [name for name in FLAGFILES if read(name).run_dir == recipe.init_run]
        assert recipe.records_dir == read(first).records_dir
        models = [
            dataclasses.replace(r, precision="float32").model(50) for r in (recipe, read(first))
        ]
        assert models[0] == models[1]
    else:
        build = flags.read(BuildFlags, parse(BUILD, *header.arguments(flagfile, BUILD))[0])
        assert recipe.records_dir == (build.output_dir or default_output_dir(build.dataset))
        assert build.features in (None, recipe.encoder)
    for module in (TRAIN, EVALUATE):
        assert header.arguments(flagfile, module)[0] == f"--flagfile={flagfile}"
    for module, *arguments in header.commands(flagfile):
        if module == CAPTION:
            assert parse(module, *arguments)[0]["run_dir"].value == recipe.run_dir


def test_no_two_flagfiles_share_a_run():
    assert len({read(flagfile).run_dir for flagfile in FLAGFILES}) == len(FLAGFILES)


@pytest.mark.parametrize("flagfile", EARLIER)
def test_a_header_says_what_it_reproduces_and_what_that_costs(flagfile):
    text = (ROOT / flagfile).read_text()
    beginnings = ("Reproduces", "What differs, and why:", "Cost:", "Measured here:")
    places = [text.find(f"\n# {beginning}") for beginning in beginnings]
    assert -1 not in places and places == sorted(places)


@pytest.mark.slow
@pytest.mark.parametrize("flagfile", EARLIER)
def test_a_recipe_builds_trains_evaluates_and_captions(flagfile, scenes_data, tmp_path):
    recipe = read(flagfile)
    records_dir, run_dir, picture = tmp_path / "records", tmp_path / "run", tmp_path / "looked.png"
    small = SMALL | {"feature_projection": 16 if recipe.feature_projection else 0}
    run = {"records_dir": records_dir, "run_dir": run_dir} | small

    def run_header(module: str, without: tuple[str, ...] = (), **options: object) -> str:
        arguments = header.without(header.arguments(flagfile, module), without)
        done = run_process("-m", module, *arguments, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    features = {"encoder_weights": "random", "features": "small_cnn"}
    stored = any(part.startswith("--features=") for part in header.arguments(flagfile, BUILD))
    run_header(
        BUILD,
        without=("features",),
        dataset="scenes",
        data_dir=scenes_data,
        scenes_images=60,
        **({"output_dir": records_dir} | (features if stored else {})),
    )
    run_header(TRAIN, **run)
    run_header(EVALUATE, **run)
    results = json.loads((run_dir / "evaluation/val/captions_val_run_results.json").read_text())
    assert len(results) == 6 and all(result["caption"].strip() for result in results)
    metrics = json.loads((run_dir / "evaluation/val/metrics.json").read_text())
    if recipe.attention == "none":
        assert metrics["attention"] is None
        drawn = {}
    else:
        moved = metrics["attention"]["temporal_variance"]
        assert moved > 1e-9 if recipe.attention == "soft" else moved < 1e-12
        drawn = {"attention": picture}

    image = next((scenes_data / "test2017").iterdir())
    done = run_process("-m", CAPTION, str(image), run_dir=run_dir, **drawn)
    assert done.returncode == 0, done.stderr
    name, _, text = done.stdout.rstrip("\n").partition("\t")
    assert name == str(image) and text.strip()
    assert picture.is_file() == bool(drawn)
