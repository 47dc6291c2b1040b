"""The attention that is reported is that of the step at which each word was said."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from artifacts import restore
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from captioning.records_source import RecordsSource, SelectedImages
from captioning.search_options import BeamSearch
from evaluation import faithfulness
from evaluation.attention import (
    AttendedCaption,
    AttentionStatistics,
    attended_captions,
    described,
)
from evaluation.faithfulness import FaithfulnessStatistics
from model.caption_generator import CaptionGenerator
from model.decoding import decode
from model.hiding import Drops
from records.manifest import read_vocabulary
from records.split_files import open_split
from tests.support.four import FOUR
from tests.support.training import run_evaluate

SEARCH = BeamSearch(beam_size=3, length_penalty=0.5, no_repeat_ngram=0)


def split_of(records_dir, split: str, part_images: int = 256) -> RecordsSource:
    info, files = open_split(str(records_dir), split)
    return RecordsSource(files, info, part_images)


@pytest.fixture(scope="module")
def looks(four_records, four_run) -> dict[int, AttendedCaption]:
    records = split_of(four_records, "val")
    found = list(attended_captions([str(four_run)], records, SEARCH, [4, 2, 1]))
    assert sorted(look.image_id for look in found) == [1, 2, 4]  # those asked for, each once
    return {look.image_id: look for look in found}


def test_looks_are_those_of_the_words(looks, four_run):
    captioner = restore.restore(str(four_run)).captioner
    vocabulary = read_vocabulary(str(four_run))
    decoder, size = captioner.decoder, captioner.encoder.spec.size
    for image_id, look in looks.items():
        assert list(look.words) == FOUR[image_id].split()
        assert look.text == FOUR[image_id].replace(" 's", "'s")
        assert look.attention.shape == (len(look.words), 8, 8)
        pixels = decode(tf.constant(look.encoded), look.orientation, size)
        memory = decoder.memory(captioner.encoder(pixels[None]))
        state = decoder.initial_state(memory, 1)
        said = vocabulary.encode(FOUR[image_id])
        for word, given in zip(look.attention, said, strict=False):
            _, state, alpha = decoder.step(tf.constant([[given]]), state, memory)
            np.testing.assert_allclose(word.ravel(), alpha[0, 0], atol=2e-3)
    moved = looks[2].attention
    assert np.abs(moved - moved[:1]).max() > 0.02  # so that another step would be noticed


@pytest.mark.usefixtures("without_meteor")
def test_features_are_those_of_the_evaluation(tmp_path, monkeypatch, four_run, four_records):
    run_dir = tmp_path / "run"
    shutil.copytree(four_run, run_dir, ignore=shutil.ignore_patterns("events", "evaluation"))
    folder = RunFolder(str(run_dir))
    config = RunConfig.read(folder)
    # The encoder computes in it, too: other features.
    decoder = dataclasses.replace(config.model.decoder, precision="bfloat16")
    model = dataclasses.replace(config.model, decoder=decoder)
    dataclasses.replace(config, model=model).write(folder)
    given, beam = [], CaptionGenerator.beam

    def noted(generator, features, *args, **options):
        given.append(features[0].numpy()[: len(FOUR)])
        return beam(generator, features, *args, **options)

    monkeypatch.setattr(CaptionGenerator, "beam", noted)
    output = tmp_path / "out"
    assert run_evaluate(records_dir=four_records, run_dir=run_dir, output_dir=output) == 0
    evaluated, looked = given
    np.testing.assert_array_equal(evaluated, looked)


def test_statistics_are_of_words_and_captions():
    rng = np.random.default_rng(1)
    heats = [rng.dirichlet(np.ones(6), t).reshape(t, 2, 3).astype(np.float32) for t in (2, 5)]
    found = AttentionStatistics()
    for heat in heats:
        found.add(heat)
    flat = [heat.reshape(len(heat), 6) for heat in heats]
    words = np.concatenate(flat)
    assert found.as_json() == pytest.approx(
        {
            "images": 2,
            "entropy": -(words * np.log(words)).sum(-1).mean(),
            "entropy_limit": np.log(6),
            "temporal_variance": np.mean([x.var(0).sum() for x in flat]),
        },
        rel=1e-4,
    )
    assert "2 images" in described(found.as_json())


def test_of_strict_pairs_each_image_is_looked_at_once(scenes_pairs):
    records = split_of(scenes_pairs, "val", part_images=4)
    images = {image.image_id for part in records.parts for image in records.read(part)}
    assert records.images > len(images) == 6
    wanted = sorted(images)[1:]
    selected = SelectedImages(records, wanted, 4)
    assert [part.images for part in selected.parts] == [4, 1]
    read = [image for part in selected.parts for image in selected.read(part)]
    assert sorted(image.image_id for image in read) == wanted
    assert all(image.encoded for image in read)


def test_faithfulness_is_of_all_words_of_the_sample():
    rng = np.random.default_rng(1)
    captions = [
        Drops(*rng.gamma(2.0, size=(4, words)).astype(np.float32)) for words in (2, 0, 5, 3, 4, 6)
    ]
    statistics = FaithfulnessStatistics()
    for drops in captions:
        statistics.add(drops)
    measured = statistics.as_json(locations=49)
    of_words = Drops(*np.concatenate([np.stack(drops) for drops in captions], 1))
    assert (measured["hidden"], measured["places"]) == (5, 49)
    for part, most, random in (
        (measured, of_words.most, of_words.random),
        (measured["even"], of_words.even_most, of_words.even_random),
    ):
        assert part["drop"] == pytest.approx(most.mean(), rel=1e-5)
        assert part["random_drop"] == pytest.approx(random.mean(), rel=1e-5)
        assert part["ratio"] == pytest.approx(most.mean() / random.mean(), rel=1e-5)
        assert part["interval"].low <= part["ratio"] <= part["interval"].high
    assert faithfulness.described(measured).startswith(f"faithfulness {measured['ratio']:.2f} (95%")


def test_a_word_needs_the_places_that_it_looks_at(four_run, four_records):
    """The four captions are learnt by heart from what attention saw."""
    records = split_of(four_records, "val")
    captions = attended_captions([str(four_run)], records, SEARCH, [1, 2, 3, 4], drops=True)
    most, random = np.concatenate([np.stack(x.drops)[:2] for x in captions], 1)
    assert most.mean() > random.mean()
