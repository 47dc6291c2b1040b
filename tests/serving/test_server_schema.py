"""Requests that nobody thought of, made from the server's own description of its API."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.web.access import Access
from tests.support.bombs import all_bombs
from tests.support.image_kinds import all_kinds
from tests.support.mutations import mutated
from tests.support.server import decode_real, threaded_server

TOKEN = "Very-Secret"
FILES = {name: kind.data for name, kind in all_kinds().items() if len(kind.data) < 50_000}
IMAGES = st.one_of(
    st.sampled_from(sorted(FILES.values())),
    st.sampled_from([data for _, data in mutated(FILES, 300, seed=3)]),
    st.sampled_from([data for data, _ in all_bombs().values()]),
    st.binary(max_size=200),
)
# The same requests in every run.
SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
schemathesis.openapi.media_type("application/octet-stream", IMAGES, aliases=["image/*"])
OPERATIONS = [
    ("/v1/captions", "POST"),
    *((path, "GET") for path in ("/v1/model", "/healthz", "/readyz", "/metrics")),
]


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.support.server.POISON", None)
        with threaded_server(access=Access(token=TOKEN), decoder=decode_real, queue=64) as server:
            yield server


@pytest.fixture(scope="module")
def description(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def fuzz(description, path: str, method: str, examples: int) -> set[int]:
    """Send requests as the description has them, and such that break it.

    Returns:
        The statuses of the answers.
    """
    statuses = set()
    every = list(schemathesis.GenerationMode)
    for mode in every if method == "POST" else every[:1]:  # Nothing of the others can be broken.

        @settings(SETTINGS, max_examples=examples)
        @given(case=description[path][method].as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            response = case.call_and_validate(
                headers={"Authorization": f"Bearer {TOKEN}"},
                # A body of the described type need not be a good image.
                excluded_checks=[positive_data_acceptance],
            )
            # A 503 would be described, and yet the server's own failure.
            assert response.status_code < 500, response.text
            statuses.add(response.status_code)

        check()
    return statuses


def test_every_operation_is_in_the_list(description):
    described = {
        (path, method.upper())
        for path, operations in description.raw_schema["paths"].items()
        for method in operations
    }
    assert described == set(OPERATIONS)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation(path, method, description):
    statuses = fuzz(description, path, method, 60 if method == "POST" else 10)
    assert statuses >= ({200, 400, 413, 415, 422} if method == "POST" else {200})


@pytest.mark.slow
def test_captions_at_length(description):
    fuzz(description, *OPERATIONS[0], 3000)
