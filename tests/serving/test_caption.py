"""Own images: every format, however it is held, and the broken ones among the good."""

import dataclasses
import io
import os
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

from artifacts import restore
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from captioning import image_file as image_files
from captioning.given_files import GivenFiles
from captioning.job import caption_at_once
from captioning.replica import Wanted
from captioning.search_options import BeamSearch, rules
from cli import command
from cli.errors import UsageError, UserError
from model.caption_generator import CaptionGenerator
from model.decoding import decode
from pixels import limits
from serving import caption
from tests.support.commands import ROOT, users_environment
from tests.support.disk import full_disk
from tests.support.four import FOUR_DETOKENISED, four_picture

pytestmark = pytest.mark.usefixtures("kept_replicas")
_ROTATIONS = {3: Image.ROTATE_180, 6: Image.ROTATE_90, 8: Image.ROTATE_270}


def picture(number: int) -> Image.Image:
    return Image.open(io.BytesIO(four_picture(number)))


def flag_values(**options) -> flags.FlagValues:
    """The command's flags, as given and by default."""
    argv = ["caption", *(f"--{name}={value}" for name, value in options.items())]
    return command.parse(argv, caption.define_flags)[0]


@pytest.fixture
def run(four_run):
    """The command in this process: a function that returns its exit code."""

    def command(*paths, **options) -> int:
        return caption.main(flag_values(**{"run_dir": four_run} | options), list(map(str, paths)))

    return command


@pytest.fixture
def good(tmp_path):
    """Path -> its caption, for the four pictures in four formats."""
    (tmp_path / "more").mkdir()
    found = {}
    for number, name in enumerate(("1.jpg", "2.png", "more/3.webp", "4 with spaces.bmp"), 1):
        path = tmp_path / name
        if number == 1:
            path.write_bytes(four_picture(1))
        else:
            picture(number).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
        found[path] = FOUR_DETOKENISED[number]
    return found


def test_every_format_gets_its_caption_in_order(good, capsys, run):
    assert run(*good) == 0
    out = capsys.readouterr().out
    assert out == "".join(f"{path}\t{said}\n" for path, said in good.items())


@pytest.mark.parametrize("orientation", _ROTATIONS)
def test_a_camera_held_otherwise_changes_nothing(tmp_path, capsys, orientation, run):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "held.jpg"
    turned = picture(2).transpose(_ROTATIONS[orientation])
    turned.save(path, quality=95, subsampling=0, exif=exif)
    file = image_files.read(str(path))
    upright = np.asarray(image_files.picture(file.encoded, file.orientation, 64), float)
    assert np.abs(upright - np.asarray(picture(2), float)).mean() < 3
    assert np.abs(np.asarray(turned, float) - np.asarray(picture(2), float)).mean() > 6
    assert run(path) == 0
    assert capsys.readouterr().out == f"{path}\t{FOUR_DETOKENISED[2]}\n"


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "I;16", "1"])
def test_every_mode_is_taken(tmp_path, capsys, mode, run):
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    image = picture(3)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        assert image.mode == mode
    else:
        image = image.convert(mode)
    image.save(path)
    assert run(path) == 0
    name, _, said = capsys.readouterr().out.partition("\t")
    assert name == str(path)
    if mode in ("RGBA", "P", "CMYK"):
        assert said == FOUR_DETOKENISED[3] + "\n"


def test_broken_files_are_named_and_the_good_ones_captioned(good, tmp_path, capsys, run):
    first = next(iter(good))
    broken = {
        "cut.jpg": first.read_bytes()[:700],
        "cut.png": (tmp_path / "2.png").read_bytes()[:-2000],
        "page.jpg": b"<html>not found</html>",
        "empty.jpg": b"",
        "folder": None,
        "missing.jpg": None,
    }
    paths = list(good)
    for place, (name, content) in enumerate(broken.items()):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        elif name == "folder":
            path.mkdir()
        paths.insert(2 * place % 7, path)
    assert run(*paths) == 1
    out, err = capsys.readouterr()
    lines = dict(line.split("\t") for line in out.splitlines())
    assert lines == {str(path): said for path, said in good.items()}
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(broken)
    for name in broken:
        assert len([line for line in errors if f"{tmp_path / name}: " in line]) == 1, name
    assert "Traceback" not in err


def test_nothing_but_broken_files(tmp_path, capsys, run):
    assert run(tmp_path / "none.jpg", attention=tmp_path / "out.png") == 1
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "out.png").exists()


def test_sizes_are_bounded_before_a_pixel_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "1.png"
    picture(1).save(path)
    monkeypatch.setattr(limits, "MAX_OTHER_PIXELS", 64 * 64 - 1)
    with pytest.raises(UserError, match=r"1\.png: 64 x 64 pixels; expected at most"):
        image_files.read(str(path))
    monkeypatch.setattr(limits, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(UserError, match=r"1\.png: [\d,]+ bytes; expected an image of at most 100"):
        image_files.read(str(path))


def test_more_files_than_a_batch(good, capsys, run):
    paths = [*good] * 5
    assert run(*paths) == 0
    assert capsys.readouterr().out == "".join(f"{path}\t{good[path]}\n" for path in paths)


def test_attention_is_drawn(good, tmp_path, capsys, run):
    out = tmp_path / "attention.png"
    assert run(*good, attention=out) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4
    assert f"picture: {out}" in captured.err
    with Image.open(out) as drawn:
        assert drawn.format == "PNG"
        width, height = drawn.size
        pixels = np.asarray(drawn.convert("RGB"), float)
    assert 1000 < width < 2000
    assert 600 < height < 2000  # four pictures, the longest caption in two rows
    assert pixels.std() > 20  # not a blank page
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000
    one = tmp_path / "one.png"
    assert run(next(iter(good)), attention=one) == 0
    with Image.open(one) as drawn:
        assert drawn.size[0] == width
        assert drawn.size[1] < height / 2


def test_attention_of_each_word_is_that_of_the_search(good, four_run):
    captioner = restore.restore(str(four_run)).captioner
    generator = CaptionGenerator([captioner])
    files = [image_files.read(str(path)) for path in good]
    pixels = np.stack([decode(file.encoded, file.orientation, 64) for file in files])
    source = GivenFiles(list(map(str, good)), 4)
    outcomes = caption_at_once([str(four_run)], source, BeamSearch(), Wanted(attention=True))
    looks = [outcome.captions[0] for outcome in outcomes]
    features = tf.cast(captioner.encoder(pixels), tf.float16)  # as all captioning takes them
    greedy = generator.greedy([features], rules()).attention[:, 0]
    for look, said, attention in zip(looks, good.values(), greedy, strict=True):
        assert look.text == said
        assert look.attention.shape == (len(look.words), 8, 8)
        # What is learnt by heart, greedy search says too: where it looked is then the same.
        expected = tf.reshape(attention[: len(look.words)], look.attention.shape)
        np.testing.assert_allclose(look.attention, expected, atol=1e-4)


# How captions are searched for.


def lines(capsys) -> list[str]:
    """The captions printed since the last time."""
    return [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]


def test_the_flags_of_the_search_reach_it(good, capsys, run):
    assert run(*good, beam_size=1, length_penalty=0) == 0
    assert lines(capsys) == list(good.values())
    assert run(*good, min_length=11) == 0
    said = lines(capsys)
    assert min(len(text.replace("'s", " 's").split()) for text in said) >= 11
    assert run(*good, min_length=20, no_repeat_ngram=1) == 0
    for text in lines(capsys):
        words = text.replace("'s", " 's").split()
        assert len(words) == len(set(words)) >= 12


def test_a_seed_and_an_image_give_the_same_sample(good, capsys, run):
    options = {"sample": True, "temperature": 20}
    assert run(*good, *good, **options) == 0
    first = lines(capsys)
    assert len(set(first)) == 4  # the same file twice: the same caption
    assert first[:4] == first[4:]
    assert not set(first) & set(FOUR_DETOKENISED.values())
    path = list(good)[2]
    assert run(path, **options) == 0
    assert lines(capsys) == first[2:3]
    assert run(path, **options, seed=2) == 0
    assert lines(capsys) != first[2:3]
    assert run(*good, **options, top_k=1) == 0
    assert lines(capsys) == list(good.values())


def test_flags_of_two_ways_to_search_are_refused(good, run):
    with pytest.raises(UsageError, match="--beam_size contradicts --sample"):
        run(*good, sample=True, beam_size=3)
    with pytest.raises(UsageError, match="--top_p needs --sample"):
        run(*good, top_p=0.9)


def test_a_flagfile_says_the_trained_attention_and_the_command_line_a_picture(
    good, tmp_path, capsys, four_run
):
    flagfile, drawn = tmp_path / "recipe.flags", tmp_path / "looked.png"
    flagfile.write_text(f"--run_dir={four_run}\n--attention=soft\n")
    image = next(iter(good))

    def run(*arguments: str) -> int:
        values, files = command.parse(
            ["caption", *arguments, str(image)], caption.define_flags, others="positional"
        )
        return caption.main(values, files)

    assert run(f"--flagfile={flagfile}") == 0
    assert "picture" not in capsys.readouterr().err
    assert run(f"--flagfile={flagfile}", f"--attention={drawn}") == 0
    assert drawn.is_file()
    with pytest.raises(UsageError, match="--flagfile first and then --attention=PNG"):
        run(f"--attention={drawn}", f"--flagfile={flagfile}")
    flagfile.write_text(f"--run_dir={four_run}\n--attention=static\n")
    with pytest.raises(UsageError, match="--attention=static contradicts"):
        run(f"--flagfile={flagfile}")


def test_no_attention_is_drawn_of_a_run_that_has_none(good, tmp_path, capsys, four_run_copy, run):
    folder = RunFolder(str(four_run_copy))
    config = RunConfig.read(folder)
    decoder = dataclasses.replace(config.model.decoder, attention="none", gate=False)
    model = dataclasses.replace(config.model, decoder=decoder)
    dataclasses.replace(config, model=model).write(folder)
    out = tmp_path / "out.png"
    with pytest.raises(UsageError, match=r"out\.png: .* trained with --attention=none: .* no att"):
        run(*good, run_dir=four_run_copy, attention=out)
    assert capsys.readouterr().out == "" and not out.exists()


def test_several_runs_speak_together(good, tmp_path, capsys, four_run, run):
    assert run(*good, run_dir=f"{four_run},{four_run}") == 0
    assert lines(capsys) == list(good.values())
    other = tmp_path / "other"
    other.mkdir()
    config = RunConfig.read(RunFolder(str(four_run)))
    data = dataclasses.replace(config.data, vocabulary_fingerprint="0" * 64)
    dataclasses.replace(config, data=data).write(RunFolder(str(other)))
    with pytest.raises(UserError, match=r"other: its vocabulary is not the one of .*four"):
        run(*good, run_dir=f"{four_run},{other}")


def test_a_file_without_an_end_is_too_large(good, capsys, run):
    assert run("/dev/zero", *good) == 1
    captured = capsys.readouterr()
    assert [line.split("\t")[1] for line in captured.out.splitlines()] == list(good.values())
    assert "error: /dev/zero: 67,108,865 bytes; expected an image of at most" in captured.err


# Wrong usage.


def test_what_is_missing(good, tmp_path, run):
    with pytest.raises(UsageError, match="--run_dir is missing"):
        run(*good, run_dir="")
    with pytest.raises(UsageError, match="no image files given"):
        run()
    with pytest.raises(UserError, match=r"none: no run here"):
        run(*good, run_dir=tmp_path / "none")
    with pytest.raises(UserError, match=r"--attention=.*: there is no folder .* written to"):
        run(*good, attention=tmp_path / "none" / "out.png")
    with pytest.raises(UserError, match=r"--attention=.*: a folder"):
        run(*good, attention=tmp_path)
    with pytest.raises(UsageError, match=r"--attention=.*x\.jpg: .* ends in \.png"):
        run(*good, attention=tmp_path / "x.jpg")


def test_a_folder_is_the_task_of_another_command(good, tmp_path, capsys, run):
    assert run(tmp_path) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith(f"; `python -m evaluation.main --images={tmp_path}` captions a folder")


def test_a_picture_that_cannot_be_written_is_a_line(good, tmp_path, capsys, run):
    with full_disk(20_000), pytest.raises(UserError, match=r"out\.png: .*File too large"):
        run(*good, attention=tmp_path / "out.png")
    assert len(capsys.readouterr().out.splitlines()) == 4  # the captions are said all the same


@pytest.mark.filterwarnings("ignore:'serving.caption' found in sys.modules")
def test_run_as_a_module(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["caption", f"--run_dir={tmp_path}", "a.jpg"])
    with pytest.raises(SystemExit, check=lambda end: end.code == 1):
        runpy.run_module("serving.caption", run_name="__main__")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(rf"error: {tmp_path}: no run here .*trainer\.main.*\n", captured.err)


@pytest.mark.slow
def test_names_that_are_not_utf8_lose_no_file(tmp_path, four_run):
    """In the environment of a user, where TensorFlow's log is hidden and stderr opened anew."""
    names = [b"caf\xe9.jpg", b"good.jpg"]
    folder = os.fsencode(tmp_path) + b"/f\xe9/"
    os.mkdir(folder)
    paths = [folder + name for name in names]
    for number, path in enumerate(paths, 1):
        with open(path, "wb") as file:
            file.write(four_picture(number))
    broken = folder + b"\xe9.jpg"
    picture = os.fsdecode(folder + b"\xe9.png")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "serving.caption", f"--run_dir={four_run}"),
            *(f"--attention={picture}", broken, *paths),
        ],
        cwd=ROOT,
        env=users_environment(),
        capture_output=True,
        check=False,
    )
    captions = (FOUR_DETOKENISED[number].encode() for number in (1, 2))
    assert done.stdout.splitlines() == [
        b"\t".join(pair) for pair in zip(paths, captions, strict=True)
    ]
    folder_text = f"{tmp_path}/f\\udce9/"
    assert done.stderr.decode().splitlines() == [
        "captioning on CPU:0 in float32",
        f"error: {folder_text}\\udce9.jpg: cannot be read: No such file or directory",
        f"picture: {folder_text}\\udce9.png",
    ]
    assert done.returncode == 1 and os.path.exists(picture)
