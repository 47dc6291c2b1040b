"""The search flags of a recipe: kept by the run, and how its captions are searched for."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from captioning import run_search
from captioning.feature_captioner import FeatureCaptioner
from captioning.search_options import BeamSearch, GreedySearch, Sampling
from cli import command
from cli.errors import UsageError
from records.manifest import read_info
from records.split_files import open_split
from records.vocabulary import END, SPECIAL, Vocabulary
from serving import caption as serving
from tests.support.captioner import small_captioner, some_features
from tests.support.training import run_evaluate, train

WORDS = [*SPECIAL, *(f"word{n}" for n in range(4, 23))]
DEFAULTS = {"beam_size": 3, "length_penalty": 0.7, "no_repeat_ngram": 3, "min_length": 0}


def config(**search) -> RunConfig:
    return RunConfig(None, {}, None, search=search)


def test_flags_then_the_run_then_the_defaults():
    assert run_search.of_runs(["a"], [config()], {}) == (BeamSearch(), [])
    kept = config(beam_size=5, max_words=40)
    assert run_search.of_runs(["a"], [kept], {})[0] == BeamSearch(beam_size=5, max_words=40)
    given = {"beam_size": 2, "min_length": 39}
    search, _ = run_search.of_runs(["a"], [kept], given)
    assert search == BeamSearch(beam_size=2, min_length=39, max_words=40)
    for given in ({"min_length": 40}, {"min_length": 7, "max_words": 7}):
        with pytest.raises(UsageError, match=r"--min_length=\d+ leaves no room below --max_words="):
            run_search.of_runs(["a"], [kept], given)


def test_runs_that_differ_are_told():
    runs = [config(beam_size=5), config(no_repeat_ngram=0, beam_size=5), config()]
    search, remarks = run_search.of_runs(["a", "b", "c"], runs, {"max_words": 9})
    assert search == BeamSearch(beam_size=5, max_words=9)
    assert remarks == [
        "the runs differ in --beam_size: a keeps 5, which is taken, c keeps 3; give --beam_size to"
        " choose",
        "the runs differ in --no_repeat_ngram: a keeps 3, which is taken, b keeps 0; give"
        " --no_repeat_ngram to choose",
    ]
    assert run_search.of_runs(["a", "c"], runs[::2], {"beam_size": 1})[1] == []


def manifest(records, longest: tuple[int, ...], limit: int = 21):
    """The manifest of these records, as if the longest captions of its shards were these."""
    info = read_info(str(records))
    shards = info.splits["train"].shards
    changed = tuple(dataclasses.replace(shards[0], longest_caption=words) for words in longest)
    train_split = dataclasses.replace(info.splits["train"], shards=changed)
    flags = dataclasses.replace(info.flags, max_caption_words=limit)
    return dataclasses.replace(info, splits=info.splits | {"train": train_split}, flags=flags)


@pytest.mark.parametrize(
    ("longest", "limit", "expected"),
    [
        ((4, 12), 21, 30),
        ((29, 1), 0, 30),
        ((30, 1), 0, 31),
        ((12, 57), 0, 58),
        ((0, 57), 0, 30),  # an earlier version's shard does not say
        ((0, 57), 100, 101),  # but no caption is longer than the build allowed
    ],
)
def test_the_longest_train_caption_fits_new_runs(
    tmp_path, scenes_records, four_run_copy, longest, limit, expected
):
    folder = RunFolder(str(four_run_copy))
    for path in (four_run_copy / "checkpoints").iterdir():
        path.unlink()
    dataclasses.replace(RunConfig.read(folder), search={}).write(folder)
    info = manifest(scenes_records, longest, limit)
    assert run_search.keep(folder, {}, info).search == DEFAULTS | {"max_words": expected}
    assert RunConfig.read(folder).search["max_words"] == expected


def test_earlier_runs_keep_what_is_given_and_nothing_else(four_run_copy, scenes_records):
    folder = RunFolder(str(four_run_copy))
    dataclasses.replace(RunConfig.read(folder), search={}).write(folder)
    info = manifest(scenes_records, (80,))
    before = (four_run_copy / "config.json").read_bytes()
    assert run_search.keep(folder, {"records_dir": "x"}, info).search == {}
    assert (four_run_copy / "config.json").read_bytes() == before
    assert run_search.keep(folder, {"beam_size": 5}, info).search == {"beam_size": 5}
    assert RunConfig.read(folder).search == {"beam_size": 5}


def test_records_say_how_long_their_captions_are(scenes_records):
    info, _ = open_split(str(scenes_records), "train")
    assert 4 < max(shard.longest_caption for shard in info.splits["train"].shards) < 21


# The whole way.


@pytest.mark.slow
@pytest.mark.usefixtures("without_meteor")
def test_a_recipe_serves_every_command(tmp_path, scenes_records, capsys):
    run_dir, recipe = tmp_path / "run", tmp_path / "a.flags"
    flags = ["--no_repeat_ngram=0", "--max_words=1", "--beam_size=2", "--seed=1", "--epochs=1"]
    places = [f"--run_dir={run_dir}", f"--records_dir={scenes_records}"]
    recipe.write_text("\n".join([*flags, *places]))
    assert train(f"--flagfile={recipe}", epochs=1) == 0
    kept = json.loads((run_dir / "config.json").read_text())["search"]
    assert kept == DEFAULTS | {"no_repeat_ngram": 0, "max_words": 1, "beam_size": 2}
    capsys.readouterr()

    def searched(*args) -> dict:
        assert run_evaluate(*args, records_dir=scenes_records) == 0
        return json.loads((run_dir / "evaluation/val/metrics.json").read_text())

    # Every caption has a word and goes on.
    metrics = searched(f"--run_dir={run_dir}")
    assert metrics["search"] == kept and metrics["cut_captions"] == 6
    assert "6 of 6 captions were cut at 1 words; --max_words=N allows more" in (
        capsys.readouterr().out
    )
    lines = (run_dir / "evaluation/val/captions_val_run.jsonl").read_text().splitlines()
    assert all(json.loads(line)["cut"] for line in lines)
    assert searched(f"--flagfile={recipe}", "--beam_size=3")["search"] == kept | {"beam_size": 3}
    photo = tmp_path / "photo.png"
    photo.write_bytes(_png())
    capsys.readouterr()
    argv = ["caption", f"--flagfile={recipe}", str(photo)]
    assert serving.main(*command.parse(argv, serving.define_flags, others="positional")) == 0
    captured = capsys.readouterr()
    assert len(captured.out.split("\t")[1].replace("'", " '").split()) == 1
    assert captured.err.splitlines() == [
        "captioning on CPU:0 in float32",
        f"warning: {photo}: cut at 1 words; --max_words=N allows more",
    ]
    # What is not part of the training may change when it is resumed.
    assert train(f"--flagfile={recipe}", epochs=1, max_words=9) == 0
    assert searched(f"--run_dir={run_dir}")["search"] == kept | {"max_words": 9}


def _png() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("words", [1, 7, 40])
@pytest.mark.parametrize("kind", [BeamSearch, GreedySearch, Sampling])
def test_every_search_cuts_where_it_is_told(kind, words):
    captioner = small_captioner()
    (bias,) = (v for v in captioner.decoder.variables if tuple(v.shape) == (len(WORDS),))
    bias.assign(np.where(np.arange(len(WORDS)) == END, -1e9, 0.0))  # no caption ends by itself
    search = FeatureCaptioner(
        [captioner], Vocabulary(WORDS, [1] * len(WORDS)), kind(max_words=words)
    )
    features = some_features(locations=64)
    seeds = tf.constant([[1, n] for n in range(len(features))], tf.int64)
    captions = search.captions(search.search([features], seeds))
    assert {len(of_image[0].words) for of_image in captions} == {words}
    assert all(of_image[0].cut for of_image in captions)
