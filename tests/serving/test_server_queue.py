"""The queue and its batches: what is computed together, refused, dropped and answered."""

import asyncio

import pytest

from tests.support.server import POISON, FakeRuntime, fake_server, image, raw_scope, until

pytestmark = pytest.mark.anyio


def held_runtime(**options) -> FakeRuntime:
    """Return a runtime whose batches wait until its `hold` is set."""
    runtime = FakeRuntime(**options)
    runtime.hold.clear()
    return runtime


async def test_what_arrives_during_a_batch_is_computed_together():
    runtime = held_runtime()
    async with fake_server(runtime) as server:
        tasks = [server.post_later(image(1))]
        await until(lambda: runtime.batches)
        for number in (2, 3, 4, 5, 6, 7):
            tasks.append(server.post_later(image(number)))
            await until(lambda: server.service.batcher.waiting == len(tasks) - 1)
        await until(lambda: len(server.service.batcher._queue) == 6)
        runtime.hold.set()
        answers = [(await task).json() for task in tasks]
        sizes = await server.metric("captioner_batch_images_sum")
    texts = [answer["images"][0]["captions"][0]["text"] for answer in answers]
    assert texts == [f"{number} dogs" for number in range(1, 8)]
    assert sorted(map(len, runtime.batches)) == [1, 2, 4]
    assert sorted(runtime.computed) == [1, 2, 3, 4, 5, 6, 7]
    assert sizes == 7  # Without those that fill a batch up.


async def test_a_batch_is_filled_up_to_a_size_of_the_runtime():
    runtime = held_runtime(batch_sizes=(1, 4, 16))
    async with fake_server(runtime) as server:
        first = server.post_later(image(1))
        await until(lambda: runtime.batches)
        second = server.post_later(image(2), image(3))
        await until(lambda: len(server.service.batcher._queue) == 2)
        runtime.hold.set()
        assert (await second).status_code == (await first).status_code == 200
    assert [len(batch) for batch in runtime.batches] == [1, 4]
    assert set(runtime.batches[1]) == {2, 3}


async def test_a_runtime_that_takes_one_image_gets_one():
    runtime = FakeRuntime(batch_sizes=(1,), parallel=2)
    async with fake_server(runtime) as server:
        response = await server.post_form(*map(image, (1, 2, 3)))
    assert response.status_code == 200
    assert sorted(map(len, runtime.batches)) == [1, 1, 1]


async def test_as_many_batches_are_computed_at_once_as_the_runtime_says():
    runtime = held_runtime(batch_sizes=(1,), parallel=2)
    async with fake_server(runtime) as server:
        tasks = [server.post_later(image(number)) for number in (1, 2, 3)]
        await until(lambda: len(runtime.batches) == 2)
        await until(lambda: len(server.service.batcher._queue) == 1)
        runtime.hold.set()
        assert {(await task).status_code for task in tasks} == {200}


async def test_a_batch_waits_for_more_images_if_told_to():
    runtime = FakeRuntime()
    async with fake_server(runtime, wait_s=60.0) as server:
        tasks = [server.post_later(image(1))]
        await until(lambda: len(server.service.batcher._queue) == 1)
        assert not runtime.batches
        tasks += [server.post_later(image(number)) for number in (2, 3, 4)]
        await asyncio.gather(*tasks)
    assert [sorted(batch) for batch in runtime.batches] == [[1, 2, 3, 4]]


async def test_a_batch_does_not_wait_for_ever():
    runtime = FakeRuntime()
    async with fake_server(runtime, wait_s=0.01) as server:
        assert (await server.post(image(1))).status_code == 200


async def test_a_full_queue_refuses_and_takes_again():
    runtime = held_runtime()
    async with fake_server(runtime, queue=4) as server:
        tasks = [server.post_later(image(1))]
        await until(lambda: runtime.batches)
        tasks.append(server.post_later(image(2), image(3), image(4)))
        await until(lambda: server.service.batcher.waiting == 3)
        # A form is accepted whole or not at all.
        refused = await server.post_form(image(5), image(6))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert int(refused.headers["Retry-After"]) >= 1
        assert server.service.batcher.waiting == 3
        tasks.append(server.post_later(image(7)))
        await until(lambda: server.service.batcher.waiting == 4)
        assert (await server.post(image(8))).status_code == 429
        assert await server.metric('captioner_rejections_total{reason="queue_full"}') == 2
        assert await server.metric("captioner_queue_images") == 4
        runtime.hold.set()
        assert {(await task).status_code for task in tasks} == {200}
        assert (await server.post(image(9))).status_code == 200
    assert {5, 6, 8}.isdisjoint(runtime.computed)


async def test_a_full_queue_refuses_before_the_body_is_read():
    runtime = held_runtime()
    async with fake_server(runtime, queue=1, images=1) as server:
        tasks = [server.post_later(image(1))]
        await until(lambda: runtime.batches)
        tasks.append(server.post_later(image(2)))
        await until(lambda: server.service.batcher.full)
        read = []

        async def body():
            read.append(1)
            yield image(3)

        refused = await server.http.post("/v1/captions", content=body())
        assert refused.status_code == 429
        assert await server.metric('captioner_stage_seconds_count{stage="read"}') == 2
        runtime.hold.set()
        await asyncio.gather(*tasks)


async def test_a_bad_image_gives_its_place_back_and_harms_no_neighbour():
    runtime = FakeRuntime()
    async with fake_server(runtime, queue=4) as server:
        for _ in range(5):
            response = await server.post_form(image(1), b"damaged", b"surprise", image(2))
            assert [list(entry)[1] for entry in response.json()["images"]] == [
                "captions",
                "error",
                "error",
                "captions",
            ]
        assert server.service.batcher.waiting == 0


@pytest.mark.parametrize("bad", [b"damaged", b"surprise"])
async def test_a_bad_image_does_not_keep_its_place_until_its_neighbours_are_computed(bad):
    runtime = held_runtime()
    async with fake_server(runtime) as server:
        first = server.post_later(image(1))
        await until(lambda: runtime.batches)
        form = server.post_later(image(2), bad)
        await until(lambda: len(server.service.batcher._queue) == 1)
        await until(lambda: server.service.batcher.waiting == 1)
        runtime.hold.set()
        assert (await form).status_code == (await first).status_code == 200


async def test_a_client_that_goes_is_dropped_before_its_batch():
    runtime = held_runtime()
    async with fake_server(runtime) as server:
        first = server.post_later(image(1))
        await until(lambda: runtime.batches)
        gone = asyncio.Event()
        scope = raw_scope()
        sent = []

        async def receive():
            if not sent:
                sent.append("body")
                return {"type": "http.request", "body": image(2), "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        request = asyncio.create_task(server.app(scope, receive, send))
        await until(lambda: len(server.service.batcher._queue) == 1)
        gone.set()
        await request
        assert sent == ["body"]  # No answer.
        assert server.service.batcher.waiting == 0 and not server.service.batcher._queue
        assert await server.metric('captioner_requests_total{status="499"}') == 1
        runtime.hold.set()
        assert (await first).status_code == 200
    assert 2 not in runtime.computed


async def test_a_deadline_frees_the_place_in_the_queue():
    runtime = held_runtime()
    async with fake_server(runtime, deadline_s=0.05) as server:
        first = await server.post(image(1))
        second = await server.post_form(image(2), image(3))
        for response in (first, second):
            assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline")
        assert server.service.batcher.waiting == 0 and not server.service.batcher._queue
        assert len(runtime.batches) == 1
        runtime.hold.set()
        await until(lambda: not server.service.batcher.computing)
        assert (await server.post(image(4))).status_code == 200
    assert {2, 3}.isdisjoint(runtime.computed)


async def test_a_failing_batch_is_computed_one_by_one(log):
    runtime = held_runtime()
    async with fake_server(runtime) as server:
        tasks = [server.post_later(image(1))]
        await until(lambda: runtime.batches)
        for number in (2, POISON, 3):
            tasks.append(server.post_later(image(number)))
            await until(lambda: len(server.service.batcher._queue) == len(tasks) - 1)
        runtime.hold.set()
        answers = [await task for task in tasks]
        assert [answer.status_code for answer in answers] == [200, 200, 503, 200]
        assert answers[3].json()["images"][0]["captions"][0]["text"] == "3 dogs"
        assert answers[2].json()["error"]["code"] == "failed"
        assert (await server.post(image(4))).status_code == 200
    assert log.text.count("the runtime cannot compute this") >= 2


async def test_a_runtime_that_answers_too_little_fails_on_no_neighbour(log):
    runtime = FakeRuntime()
    caption = runtime.caption
    runtime.caption = lambda pixels: caption(pixels)[:1]
    async with fake_server(runtime) as server:
        response = await server.post_form(image(1), image(2), image(3))
    texts = [entry["captions"][0]["text"] for entry in response.json()["images"]]
    assert texts == ["1 dogs", "2 dogs", "3 dogs"]
