"""The routes of the server: what they take, what they answer, and what they refuse."""

import json
import logging

import pytest
import starlette.requests

from serving.web import logs
from serving.web.access import Access
from tests.support.server import CAPTIONS, FACTS, POISON, FakeRuntime, fake_server, image

NONSENSE = "a b(" * 99
pytestmark = pytest.mark.anyio


async def test_a_raw_image_is_captioned():
    async with fake_server() as server:
        response = await server.post(image(5))
    assert response.status_code == 200
    body = response.json()
    assert body["model"] == {"name": "fake", "fingerprint": FACTS.fingerprint}
    assert body["milliseconds"] > 0
    assert body["images"] == [
        {
            "name": None,
            "captions": [
                {"text": "5 dogs", "score": -1.0, "words": ["5", "dogs"]},
                {"text": "5 cats", "score": -2.0, "words": ["5", "cats"]},
            ],
        }
    ]


@pytest.mark.parametrize("kind", ["image/jpeg", "image/x-unheard-of", "application/octet-stream"])
async def test_a_raw_image_may_be_of_any_image_type(kind):
    async with fake_server() as server:
        response = await server.post(image(5), headers={"Content-Type": kind})
    assert response.status_code == 200


async def test_a_body_without_a_type_is_an_image():
    async with fake_server() as server:
        response = await server.http.post(CAPTIONS, content=image(5))
    assert response.status_code == 200


async def test_attention_is_returned_where_it_is_asked_for():
    async with fake_server() as server:
        response = await server.post(image(5), params={"attention": "true"})
    first = response.json()["images"][0]["captions"][0]
    assert first["attention"] == [[[0.1667] * 3] * 2] * 2


async def test_each_file_of_a_form_has_its_own_captions_or_error():
    async with fake_server() as server:
        response = await server.post_form(image(5), b"damaged", image(7), b"text")
        rejected = await server.metric('captioner_rejections_total{reason="corrupt"}')
    assert response.status_code == 200
    images = response.json()["images"]
    assert [entry["name"] for entry in images] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert [entry["captions"][0]["text"] for entry in (images[0], images[2])] == [
        "5 dogs",
        "7 dogs",
    ]
    assert images[1]["error"]["code"] == "corrupt" and "captions" not in images[1]
    assert images[3]["error"]["code"] == "unknown_format"
    assert rejected == 1


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "empty_file"),
        (b"large", 413, "too_large"),
        (b"text", 415, "unknown_format"),
        (b"damaged", 422, "corrupt"),
        (b"surprise", 422, "corrupt"),
        (image(POISON), 503, "failed"),
    ],
)
async def test_a_raw_body_that_gets_no_captions_is_an_error(content, status, code):
    async with fake_server() as server:
        response = await server.post(content)
        rejected = await server.metric(f'captioner_rejections_total{{reason="{code}"}}')
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["message"]
    assert rejected == 1


@pytest.mark.parametrize(
    ("kind", "content", "status", "code"),
    [
        ("application/json", b"{}", 415, "content_type"),
        ("application/x-www-form-urlencoded", b"a=b", 415, "content_type"),
        ("multipart/mixed; boundary=x", b"--x--", 415, "content_type"),
        ("multipart/form-data", b"--x--", 400, "malformed"),
        (f"multipart/form-data; boundary={'x' * 300}", b"--x--", 400, "malformed"),
        ("multipart/form-data; boundary=x", b"", 400, "malformed"),
        ("multipart/form-data; boundary=x", b"nonsense", 400, "malformed"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400, "malformed"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nimage 5\r\n--x--\r\n", 400, "malformed"),
        (
            "multipart/form-data; boundary=x",  # a field, not a file
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nimage 5\r\n--x--\r\n',
            400,
            "malformed",
        ),
    ],
)
async def test_a_body_of_another_kind_is_refused(kind, content, status, code):
    async with fake_server() as server:
        response = await server.post(content, headers={"Content-Type": kind})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


PART = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n'
END = b"--x--\r\n"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (PART + b"\r\nimage 5\r\n" + END, 200),
        (PART + b"\r\nimage 5", 400),  # cut short
        (PART + b"\r\nimage 5\r\n" + PART + b"\r\nimage 6", 400),  # after a whole file, too
        (PART + b"A: " + b"a" * 4000 + b"\r\n\r\nimage 5\r\n" + END, 200),
        (PART + b"A: " + b"a" * 5000 + b"\r\n\r\nimage 5\r\n" + END, 400),
        (PART + b"A: b\r\n" * 7 + b"\r\nimage 5\r\n" + END, 200),
        (PART + b"A: b\r\n" * 8 + b"\r\nimage 5\r\n" + END, 400),
    ],
)
async def test_a_form_must_be_whole_and_its_headers_short(form, status):
    async with fake_server() as server:
        response = await server.post(
            form, headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
    assert response.status_code == status
    assert status == 200 or response.json()["error"]["code"] == "malformed"


async def test_too_many_images_are_refused():
    async with fake_server() as server:
        response = await server.post_form(*[image(5)] * 5)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_many_images")


async def test_a_packed_body_is_refused():
    async with fake_server() as server:
        response = await server.post(image(5), headers={"Content-Encoding": "gzip"})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "content_encoding")


async def test_a_long_or_strange_file_name_is_repeated_in_part():
    name = "ä\u202e" + "x" * 400
    async with fake_server() as server:
        response = await server.http.post(CAPTIONS, files={"image": (name, image(5))})
    assert response.json()["images"][0]["name"] == name[:255]


async def test_a_query_that_is_not_described_is_refused():
    async with fake_server() as server:
        response = await server.post(image(5), params={"attention": "banana"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/page/../../setup.py", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("POST", CAPTIONS + "/", 404, "not_found"),
        ("GET", CAPTIONS, 405, "method"),
        ("DELETE", "/healthz", 405, "method"),
    ],
)
async def test_unknown_paths_and_methods_are_errors_of_the_api(method, path, status, code):
    async with fake_server() as server:
        response = await server.http.request(method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert status != 405 or response.headers["Allow"]


async def test_the_model_says_what_the_server_takes():
    async with fake_server(access=Access(token="secret")) as server:
        model = (await server.http.get("/v1/model")).json()
    assert model.pop("formats")[:2] == ["JPEG", "PNG"]
    assert model == {
        "name": "fake",
        "fingerprint": FACTS.fingerprint,
        "runtime": "fake",
        "max_image_bytes": 1 << 20,
        "max_images": 4,
        "n_best": 2,
        "grid": [2, 3],
        "attends": True,
        "token_required": True,
    }


async def test_the_page_is_served_with_a_strict_policy():
    async with fake_server() as server:
        page = await server.http.get("/")
        same = await server.http.get("/index.html")
    assert page.status_code == 200 and page.content == same.content
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"


async def test_every_answer_has_a_request_id_and_the_clients_own_is_kept():
    async with fake_server() as server:
        made = [(await server.http.get("/healthz")).headers["X-Request-Id"] for _ in range(2)]
        sent = await server.http.get("/nothing", headers={"X-Request-Id": "abc-123"})
        nonsense = await server.http.get("/healthz", headers={"X-Request-Id": NONSENSE})
    assert len(set(made)) == 2 and all(made)
    assert sent.headers["X-Request-Id"] == "abc-123"
    assert nonsense.headers["X-Request-Id"] not in ("", NONSENSE)


async def test_measurements_tell_stages_batches_queue_and_statuses():
    async with fake_server() as server:
        await server.post_form(image(5), image(6))
        await server.post(b"damaged")
        response = await server.http.get("/metrics")
        assert response.headers["Content-Type"].startswith("text/plain")
        for name, expected in {
            'captioner_stage_seconds_count{stage="read"}': 2,
            'captioner_stage_seconds_count{stage="decode"}': 2,
            'captioner_stage_seconds_count{stage="queue"}': 2,
            "captioner_batch_images_sum": 2,
            "captioner_queue_images": 0,
            'captioner_requests_total{status="200"}': 2,
            'captioner_requests_total{status="422"}': 1,
        }.items():
            assert await server.metric(name) == expected, name
        assert "process_resident_memory_bytes" in response.text


async def test_the_log_has_one_line_of_json_for_each_request(log):
    with log.at_level(logging.INFO, logs.LOGGER.name):
        async with fake_server(access=Access(token="very-secret")) as server:
            headers = {"Authorization": "Bearer very-secret", "X-Request-Id": "mine"}
            await server.post_form(image(5), image(6), headers=headers)
            await server.post(image(5))
    formatter = logs._JsonLines()
    text = [formatter.format(record) for record in log.records]
    first, second = map(json.loads, text)
    assert first["id"] == "mine" and first["path"] == CAPTIONS and first["method"] == "POST"
    assert (first["status"], first["images"]) == (200, 2)
    assert first["milliseconds"] > 0 and "reason" not in first
    assert (second["status"], second["images"], second["reason"]) == (401, 0, "token")
    assert not any("secret" in line or "image 5" in line for line in text)


async def test_a_line_of_the_log_cannot_be_forged(log):
    with log.at_level(logging.INFO, logs.LOGGER.name):
        async with fake_server() as server:
            await server.http.get('/a%0A{"status":200}')
    assert logs._JsonLines().format(log.records[0]).count("\n") == 0


async def test_a_failure_of_the_server_itself_is_no_500(monkeypatch, log):
    def fail(request):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(starlette.requests.Request, "stream", fail)
    async with fake_server() as server:
        response = await server.post(image(5))
        assert (response.status_code, response.json()["error"]["code"]) == (503, "failed")
        assert response.headers["Retry-After"]
        assert (await server.http.get("/healthz")).status_code == 200
    assert "ZeroDivisionError" in log.text


async def test_the_description_has_every_status_that_a_route_answers():
    async with fake_server() as server:
        paths = (await server.http.get("/openapi.json")).json()["paths"]
    assert set(paths) == {CAPTIONS, "/v1/model", "/healthz", "/readyz", "/metrics"}
    post = paths[CAPTIONS]["post"]
    expected = {"200", "400", "401", "408", "413", "415", "422", "429", "503", "504"}
    assert set(post["responses"]) == expected
    assert set(post["requestBody"]["content"]) == {
        "image/*",
        "application/octet-stream",
        "multipart/form-data",
    }
    errors = {
        response["content"]["application/json"]["schema"]["$ref"]
        for status, response in post["responses"].items()
        if status != "200"
    }
    assert errors == {"#/components/schemas/ErrorAnswer"}


async def test_a_server_that_has_not_started_is_alive_and_not_ready():
    async with fake_server(FakeRuntime()) as server:
        server.service._ready = False
        assert (await server.http.get("/healthz")).status_code == 200
        for response in (await server.http.get("/readyz"), await server.post(image(5))):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "not_ready"
            assert response.headers["Retry-After"]
