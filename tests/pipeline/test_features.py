"""Features computed in the job are what the trainer computes of the same images."""

import dataclasses
import io
import os
import random
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cli.errors import UsageError, UserError
from model.decoding import decode
from model.encoder import ENCODERS, PREPROCESSING_VERSION, Encoder, EncoderSpec
from model.fast.frozen_encoder import FrozenEncoder
from pipeline.job import features, load
from pixels import standard
from pixels.formats import Format
from pixels.standard import StandardImage
from records import manifest, wire
from tests.support.records import CocoFolder, build_coco, checksums, jpeg, records, rejected, verify

SMALL = {"features": "small_cnn", "encoder_weights": "random"}


def drawn(seed: int = 0, name: str = "small_cnn") -> Encoder:
    """The encoder with the random weights that a build with this seed uses."""
    keras.utils.set_random_seed(seed)
    return Encoder(name)


def plain(encoder: Encoder, encoded: list[bytes]) -> np.ndarray:
    """Features [n, H, W, D] as the trainer computes them: float32, no freezing."""
    size = encoder.spec.size
    pixels = tf.stack([decode(tf.constant(image), 1, size) for image in encoded])
    return encoder(pixels).numpy().reshape(-1, *encoder.spec.grid)


def agreement(some: np.ndarray, others: np.ndarray) -> float:
    """The least cosine of an image's features in both, the mean over the images taken away."""
    flat = [np.reshape(x, (len(x), -1)).astype(np.float64) for x in (some, others)]
    a, b = (x - x.mean(0) for x in flat)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / norms).min())


def test_random_weights_are_the_seeds_whatever_other_threads_draw():
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            random.random()

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        built = [features._build("small_cnn", "random", 3).fingerprint() for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    assert built == [drawn(3).fingerprint()] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """37 images of all kinds in train: three batches, the last not full; one in each is bad."""
    folder = CocoFolder(tmp_path_factory.mktemp("coco"), train=30, val=5)
    folder.add("train", 40, jpeg(40, (70, 50), "CMYK"))
    folder.add("train", 41, jpeg(41, (30, 90), "L"))
    for number in range(42, 47):
        data = jpeg(number, (300, 200))  # a part of it missing: TensorFlow paints it grey
        data = data[: len(data) // 2] + data[-len(data) // 4 :]
        folder.add("train", number, data if number % 2 else None)
    folder.write()
    return folder


def build_small(folder, out, *args, **options):
    named = SMALL | {"train_shards": 1, "max_rejected_fraction": 0.5, "feature_dtype": "float32"}
    return build_coco(folder, out, *args, **(named | options))


@pytest.fixture(scope="module")
def both(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("both")
    build_small(folder, out, store="both")
    return out


def test_features_are_the_trainers_of_the_same_record(both, capsys):
    train = records(both, "train")
    assert len(train) == 32
    reasons = [line["reason"] for line in rejected(both)]
    assert sorted(reasons) == ["corrupt"] * 2 + ["missing_file"] * 3
    stored = np.stack([image.features for image in train])
    assert stored.dtype == np.float16 and stored.shape == (32, 8, 8, 128)
    expected = plain(drawn(), [image.encoded for image in train])
    assert agreement(stored, expected) > 0.99999
    np.testing.assert_allclose(stored, expected, rtol=2e-3, atol=2e-3)
    assert verify(both, "--decode") == 0


def test_manifest_says_what_the_features_are(both):
    encoder = manifest.read_info(str(both)).encoder
    assert encoder == manifest.EncoderInfo(
        name="small_cnn",
        weights=drawn().fingerprint(),
        input_size=64,
        grid=(8, 8, 128),
        preprocessing=PREPROCESSING_VERSION,
        dtype="float32",
        device=encoder.device,
    )
    assert encoder.device == "cpu" or tf.config.list_physical_devices("GPU")


def test_features_alone_leave_out_the_images(folder, both, tmp_path, capsys):
    info = build_small(folder, tmp_path)
    assert info.flags.store == "features"
    assert verify(tmp_path) == 0
    pairs = zip(records(tmp_path, "train"), records(both, "train"), strict=True)
    for alone, beside in pairs:
        assert alone.encoded is None and beside.encoded is not None
        assert alone.image_id == beside.image_id
        np.testing.assert_array_equal(alone.features, beside.features)


def test_bfloat16_agrees_with_float32(folder, both, tmp_path):
    info = build_small(folder, tmp_path, feature_dtype="bfloat16")
    assert info.encoder.dtype == "bfloat16"
    rounded, exact = (
        np.stack([image.features for image in records(out, "train")]) for out in (tmp_path, both)
    )
    assert not np.array_equal(rounded, exact)
    assert agreement(rounded, exact) > 0.9995


@pytest.mark.slow
def test_a_network_with_batch_norms_frozen_is_the_network():
    encoder = drawn(name="mobilenet_v2")
    images = [jpeg(seed, (9, 7)) for seed in range(5)]  # coarse, so that they differ from afar
    pixels = np.stack([decode(tf.constant(image), 1, 224) for image in images])
    encoder.network.trainable = True
    for layer in encoder.network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # take these images' statistics
            layer.beta.assign(np.random.default_rng(0).uniform(-0.3, 0.3, layer.beta.shape))
    encoder.network(encoder.spec.preprocess(pixels), training=True)
    expected = plain(encoder, images)
    for dtype, least in (("float32", 0.99999), ("bfloat16", 0.99)):
        frozen = FrozenEncoder(encoder, dtype, batch_size=4)
        frozen_features = np.concatenate([frozen(pixels[:4]), frozen(pixels[4:])])
        assert agreement(frozen_features, expected) > least


def test_a_convolution_right_after_a_convolution():
    # Batch norms as they are drawn add nothing: folded, they leave one next to the other.
    encoder = drawn(name="mobilenet_v2")
    images = [jpeg(seed, (9, 7)) for seed in range(4)]
    pixels = np.stack([decode(tf.constant(image), 1, 224) for image in images])
    frozen_features = FrozenEncoder(encoder, "bfloat16", batch_size=4)(pixels)
    np.testing.assert_allclose(frozen_features, plain(encoder, images), atol=1e-2)


def test_dense_layers_multiply_in_bfloat16(monkeypatch):
    def network(weights):
        image = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(64, 3, padding="same")(image)
        x = keras.layers.Dense(80, activation="gelu")(keras.layers.LayerNormalization()(x))
        return keras.Model(image, keras.layers.Dense(7)(x))  # Narrow: float32.

    spec = EncoderSpec(8, (8, 8, 7), lambda images: images / 255, network, pretrained=False)
    monkeypatch.setitem(ENCODERS, "dense", spec)
    encoder = Encoder("dense")
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    expected = encoder(pixels).numpy().reshape(3, 8, 8, 7)
    exact, rounded = (FrozenEncoder(encoder, dtype, 3) for dtype in ("float32", "bfloat16"))
    np.testing.assert_allclose(exact(pixels), expected, atol=2e-3)
    np.testing.assert_allclose(rounded(pixels), expected, atol=0.05)
    products = [
        node.attr["T"].type
        for node in rounded._function.graph.as_graph_def().node
        if node.op == "MatMul"
    ]
    assert sorted(products) == [tf.float32.as_datatype_enum, tf.bfloat16.as_datatype_enum]


def test_what_fills_a_batch_up_changes_nothing():
    frozen = FrozenEncoder(drawn(), "float32", batch_size=4)
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype(np.float32)
    full_batch = frozen(pixels)
    for count in (1, 2, 3):
        assert frozen(pixels[:count]).shape == (count, 8, 8, 128)
        np.testing.assert_allclose(frozen(pixels[:count]), full_batch[:count], rtol=2e-3, atol=1e-3)


def test_what_tensorflow_cannot_decode_is_corrupt(folder, tmp_path, monkeypatch):
    """An image that passes every check before."""
    extract = features.Extractor(drawn(), "float32", batch_size=2)
    images = [jpeg(1), b"no image", jpeg(2), jpeg(3), b""]
    extracted = extract([StandardImage(image, 1, Format.JPEG, False) for image in images])
    assert [grid is None for grid in extracted] == [False, True, False, False, True]
    expected = plain(drawn(), [images[0], images[2], images[3]])
    assert agreement(np.stack([grid for grid in extracted if grid is not None]), expected) > 0.99999

    image = StandardImage(b"no image", 1, Format.JPEG, reencoded=False)
    read = load.standard.read
    monkeypatch.setattr(
        load.standard,
        "read",
        lambda data, **how: image if data == b"no image" else read(data, **how),
    )
    bad = folder.path / "train2017" / "000000000003.jpg"
    good = bad.read_bytes()
    bad.write_bytes(b"no image")
    try:
        build_small(folder, tmp_path)
    finally:
        bad.write_bytes(good)
    assert {"reason": "corrupt", "image_id": 3}.items() <= next(
        line for line in rejected(tmp_path) if line["image_id"] == 3
    ).items()


def test_a_changed_flag_rebuilds_and_the_same_does_not(folder, tmp_path, capsys):
    out = tmp_path / "records"
    build_small(folder, out)
    first = checksums(out)
    kept = "2 of 2 shards were finished before and kept"
    for changed in ({"store": "both"}, {"feature_dtype": "bfloat16"}, {"seed": 1}):
        build_small(folder, out, **changed)
        assert kept not in capsys.readouterr().out
        assert checksums(out) != first
        build_small(folder, out, **changed)
        assert kept in capsys.readouterr().out
    build_small(folder, out)
    assert checksums(out) == first
    # Weights that changed under the same name.
    path = tmp_path / "w.weights.h5"
    drawn(1).network.save_weights(path)
    build_small(folder, out, encoder_weights=path)
    second = checksums(out)
    drawn(2).network.save_weights(path)
    build_small(folder, out, encoder_weights=path)
    assert checksums(out) != second


@pytest.mark.slow
def test_two_processes_write_what_one_does(folder, tmp_path):
    options = {"train_shards": 2, "store": "both"}
    build_small(folder, tmp_path / "two", "--direct_num_workers=2", **options)
    build_small(folder, tmp_path / "one", **options)  # another number of threads
    for split in ("train", "val"):
        one, two = (records(tmp_path / name, split) for name in ("one", "two"))
        assert [image.image_id for image in one] == [image.image_id for image in two]
        assert (
            agreement(*(np.stack([i.features for i in images]) for images in (one, two))) > 0.99999
        )


def test_resized_images_are_what_features_are_of(folder, tmp_path):
    build_small(folder, tmp_path, store="both", image_size=16)
    train = records(tmp_path, "train")
    assert Image.open(io.BytesIO(train[0].encoded)).size != (40, 32)
    expected = plain(drawn(), [image.encoded for image in train])
    assert agreement(np.stack([image.features for image in train]), expected) > 0.99999


def test_weights_that_differ_on_a_worker(folder, tmp_path, monkeypatch):
    load_config = features.load_config

    def changed(*args):
        config = load_config(*args)
        return dataclasses.replace(
            config, info=dataclasses.replace(config.info, weights="of the driver")
        )

    monkeypatch.setattr(features, "load_config", changed)
    with pytest.raises(UserError, match="this worker finds other weights"):
        build_small(folder, tmp_path)
    assert not list(tmp_path.glob("*.tfrecord"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "features"}, "--store=features needs --features=ENCODER"),
        ({"feature_dtype": "float32"}, "--feature_dtype=float32 needs --features"),
        ({"encoder_weights": "random"}, "--encoder_weights=random needs --features"),
        (SMALL | {"store": "image"}, "--store=image leaves out what --features=small_cnn"),
        (SMALL | {"features": "vgg"}, "--features=vgg: no such encoder; there are nasnet_large, "),
    ],
)
def test_flags_at_odds(folder, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        build_coco(folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists() or not os.listdir(tmp_path / "out")


def test_weights_that_cannot_be_had(folder, tmp_path):
    with pytest.raises(UserError, match=r"none\.h5: no such file"):
        build_small(folder, tmp_path, encoder_weights=tmp_path / "none.h5")
    with pytest.raises(UserError, match="small_cnn has no ImageNet weights"):
        build_small(folder, tmp_path, encoder_weights="imagenet")


def test_verify_sees_features_that_are_not_right(folder, tmp_path, capsys):
    build_small(folder, tmp_path)
    shard = tmp_path / "val-00000-of-00001.tfrecord"
    images = records(tmp_path, "val")
    nan = np.array(images[0].features)
    nan[3, 2, 1] = np.nan
    changed = [
        dataclasses.replace(images[0], features=nan),
        dataclasses.replace(images[1], features=images[1].features.reshape(4, 16, 128)),
        dataclasses.replace(images[2], features=None),
        dataclasses.replace(images[3], encoded=jpeg()),
    ]
    frames = (b"".join(wire.frame(wire.to_bytes(image))) for image in [*changed, *images[4:]])
    shard.write_bytes(b"".join(frames))
    assert verify(tmp_path) == 1
    printed = capsys.readouterr().out
    assert "features that are not finite" in printed
    assert "features of shape (4, 16, 128), dataset_info.json says (8, 8, 128)" in printed
    assert "features of shape None, dataset_info.json says (8, 8, 128)" in printed
    assert "there is an image, but the records were built with --store=features" in printed


def test_real_weights_real_photographs(tmp_path):
    """CAPTION_WEIGHTS names a folder of Keras' .h5 files, CAPTION_DATA one that holds coco2017/."""
    weights, data = (os.environ.get(name) for name in ("CAPTION_WEIGHTS", "CAPTION_DATA"))
    if not weights or not data:
        pytest.skip("CAPTION_WEIGHTS or CAPTION_DATA is not set")
    path = next(Path(weights).glob("mobilenet_v2*notop*.h5"))
    encoder = Encoder("mobilenet_v2", str(path))
    photographs = sorted(Path(data, "coco2017").glob("*/*.jpg"))[:64]
    encoded = [photograph.read_bytes() for photograph in photographs]
    expected = plain(encoder, encoded)
    exact, rounded = (
        np.stack(features.Extractor(encoder, dtype)([standard.read(each) for each in encoded]))
        for dtype in ("float32", "bfloat16")
    )
    assert agreement(exact, expected) > 0.99999
    assert agreement(rounded, exact) > 0.999
    assert agreement(rounded, expected) > 0.999
