"""The recipe's flags become the model's config, or one line says why they cannot."""

import dataclasses

import pytest

from artifacts.recipe import Recipe, refuse_contradictions
from cli.errors import UsageError

NO_ATTENTION = Recipe(attention="none", gate=False, doubly_stochastic=0.0)


def test_flags_of_the_decoder_reach_the_model():
    flags = {
        "rnn_units": 7,
        "embedding_dim": 6,
        "attention_units": 5,
        "feature_projection": 4,
        "attention": "static",
        "image_as": "first_input",
        "gate": False,
        "deep_output": False,
        "precision": "bfloat16",
    }
    recipe = Recipe(encoder="mobilenet_v2", encoder_trainable=True, **flags)
    model = recipe.model(9)
    assert (model.encoder, model.encoder_trainable) == ("mobilenet_v2", True)
    sizes = {"vocabulary_size": 9, "feature_depth": 1280}
    assert dataclasses.asdict(model.decoder) == flags | sizes


@pytest.mark.parametrize(
    ("flags", "remedies"),
    [
        ({"gate": True}, ["--nogate"]),
        ({"doubly_stochastic": 0.01}, ["--doubly_stochastic=0"]),
        ({"attention_entropy": 0.1, "gate": True}, ["--nogate", "--attention_entropy=0"]),
        ({"image_as": "context"}, ["--image_as=init_state", "--image_as=first_input"]),
    ],
)
def test_without_attention_nothing_of_one_is_accepted(flags, remedies):
    assert NO_ATTENTION.model(9).decoder.attention == "none"
    with pytest.raises(UsageError, match="--attention=none") as error:
        dataclasses.replace(NO_ATTENTION, **flags).model(9)
    message = str(error.value)
    assert "\n" not in message
    assert all(remedy in message for remedy in remedies)


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ({}, "--attention_entropy_floor=2.5 changes nothing without --attention_entropy;"),
        ({"attention": "static"}, "changes nothing without --attention_entropy;"),
        (
            {"attention_entropy": 0.1, "attention_entropy_floor": 3.9},
            r"=3\.9 changes nothing: .*the 49 locations of mobilenet_v2 has 3\.89 nats at most;",
        ),
    ],
)
def test_a_floor_of_entropy_that_changes_nothing_is_refused(flags, error):
    recipe = Recipe(encoder="mobilenet_v2", attention_entropy_floor=2.5)
    dataclasses.replace(recipe, attention_entropy=0.1).model(9)
    with pytest.raises(UsageError, match=error):
        dataclasses.replace(recipe, **flags).model(9)


def test_a_flag_that_is_newer_than_the_run_contradicts_it_too():
    """Earlier versions did what the flag's default does."""
    refuse_contradictions({"gate": True}, {"gate": True, "attention": "soft"})
    with pytest.raises(UsageError, match="--attention=static contradicts"):
        refuse_contradictions({"gate": True}, {"attention": "static"})


def test_an_automatic_precision_contradicts_no_run_and_builds_no_model():
    for precision in ("float32", "bfloat16"):
        refuse_contradictions({"precision": precision}, {"precision": "auto"})
    with pytest.raises(UsageError, match="--precision=float32 contradicts"):
        refuse_contradictions({"precision": "bfloat16"}, {"precision": "float32"})
    with pytest.raises(ValueError, match="not settled"):
        Recipe(precision="auto").model(9)
