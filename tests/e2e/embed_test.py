"""The embedder as its clients meet it: identical images at once, deadlines, streams, pixels, float16."""

import random
import struct
import time
import zlib

import faults
import grpc
import kindred
from client import OK, Client
from embedding import BUSY, SERVICE, Room, Stream

INVALID = grpc.StatusCode.INVALID_ARGUMENT
IN_WORK = 64    # images of a stream that are not answered
STREAMS = 8     # open at a time
IDLE_SECONDS = 10


def png(width, height, rgb):
    """An encoded image of these pixels."""
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))
    rows = b"".join(b"\0" + rgb[y * width * 3:(y + 1) * width * 3] for y in range(height))
    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def noise(width, height, seed):
    return random.Random(seed).randbytes(width * height * 3)


def halves(data):
    return struct.unpack(f"<{len(data) // 2}e", data)


class Embedder(Room):
    # -- The same image at the same time

    def test_identical_images__are_computed_once(self):
        busy, image = self.keep_busy(), self.fresh()
        calls = [self.start(model="large", images=[image]) for _ in range(20)]
        calls.append(self.start(model="large", images=[image, image, self.photos[1]]))
        self.wait_grown("images_total", BUSY + 23)
        answers = [call.result().embeddings[0] for call in calls]
        self.assertEqual(answers[0].values, calls[-1].result().embeddings[1].values)
        for call in busy:
            call.result()
        self.assertEqual(len(answers[0].values), self.dim)
        for answer in answers:
            self.assertEqual(answer.values, answers[0].values)
            self.assertFalse(answer.cached)
        self.assertEqual(self.grown("computed_total"), BUSY + 2)
        self.assertEqual(self.grown("shared_total"), 21)

    def test_identical_images__the_first_client_goes_and_the_others_do_not_notice(self):
        busy, image = self.keep_busy(), self.fresh()
        first = self.start(model="large", images=[image])
        self.wait_grown("images_total", BUSY + 1)
        others = [self.start(model="large", images=[image]) for _ in range(5)]
        self.wait_grown("shared_total", 5)
        first.cancel()
        others.pop().cancel()
        for call in (*others, *busy):
            self.assertEqual(len(call.result().embeddings[0].values), self.dim)
        self.assertEqual(self.grown("computed_total"), BUSY + 1)
        self.assertEqual(self.grown("dropped_total"), 0)

    def test_identical_images__all_clients_go_and_nothing_is_computed(self):
        busy, image = self.keep_busy(), self.fresh()
        first = self.start(model="large", images=[image])
        self.wait_grown("images_total", BUSY + 1)
        second = self.start(model="large", images=[image])
        self.wait_grown("shared_total", 1)
        first.cancel()
        second.cancel()
        for call in busy:
            call.result()
        self.wait_grown("dropped_total", 2)
        self.assertEqual(self.grown("computed_total"), BUSY)
        self.assertFalse(self.embed([image], model="large")[0].cached)

    def test_identical_images__share_their_problem(self):
        answers = self.embed([b"no image"] * 6 + [self.fresh()])
        self.assertEqual([answer.problem.code for answer in answers], [3] * 6 + [0])
        self.assertEqual(len({answer.problem.message for answer in answers[:6]}), 1)

    # -- Deadlines

    def test_a_deadline_that_passes_in_the_queue__drops_the_images(self):
        """The client can't say that it has gone: the server sees the time itself."""
        proxy = faults.Proxy(self.embedder.address)
        self.addCleanup(proxy.end)
        client = Client(proxy.address)
        busy = self.keep_busy()
        late = self.start(client, timeout=0.5, model="large",
                          images=[self.fresh() for _ in range(5)])
        self.wait_grown("images_total", BUSY + 5)
        proxy.freeze()
        for call in busy:
            call.result()
        self.assertEqual(late.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.wait_grown("dropped_total", 5)
        kindred.wait_until(lambda: self.metric("queue_images") == 0, 60)
        self.assertEqual(self.grown("computed_total"), BUSY)

    # -- Streams

    def stream_all(self, client, **values):
        stream = Stream(client)
        for number, photo in enumerate(self.photos):
            stream.send(id=number, model="" if number else "plain", image=photo, **values)
        stream.end()
        answers = list(stream.call)
        self.assertEqual(sorted(answer.id for answer in answers), list(range(len(self.photos))))
        return {answer.id: answer.embedding for answer in answers}

    def test_stream__gives_what_unary_calls_give(self):
        self.assertGreaterEqual(len(self.photos), 300)
        self.redis.ask("FLUSHALL")
        streamed = self.stream_all(self.client)
        self.assertFalse(any(one.cached for one in streamed.values()))
        self.redis.ask("FLUSHALL")
        for first in range(0, len(self.photos), 50):
            for number, one in enumerate(self.embed(self.photos[first:first + 50]), first):
                for a, b in zip(one.values, streamed[number].values, strict=True):
                    self.assertAlmostEqual(a, b, delta=1e-5)  # other batches, other sums

        def kept():
            answers = [one for first in range(0, len(self.photos), 50)
                       for one in self.embed(self.photos[first:first + 50])]
            return all(one.cached for one in answers) and answers
        unary = kindred.wait_until(kept, 60)
        for client in (self.client, self.gateway):
            streamed = self.stream_all(client)
            for number, one in enumerate(unary):
                self.assertTrue(streamed[number].cached)
                self.assertEqual(streamed[number].values, one.values)

    def test_stream__has_so_many_in_work_and_a_late_reader_gets_all(self):
        busy, stream = self.keep_busy(), Stream(self.client)
        n = 4 * IN_WORK
        for number in range(n):
            stream.send(id=number, model="plain", image=self.fresh())
        self.wait_grown("images_total", BUSY + IN_WORK)
        later = Stream(self.client)  # by its image the first stream would have been read on
        later.send(id=0, model="plain", image=self.fresh())
        self.wait_grown("images_total", BUSY + IN_WORK + 1)
        self.assertEqual(self.grown("images_total"), BUSY + IN_WORK + 1)
        for call in busy:
            call.result()
        stream.end()
        answers = list(stream.call)
        self.assertEqual(sorted(answer.id for answer in answers), list(range(n)))
        self.assertEqual({len(answer.embedding.values) for answer in answers}, {self.dim})
        self.assertEqual(len({answer.model_id for answer in answers}), 1)
        later.end()
        self.assertEqual([answer.id for answer in later.call], [0])
        self.assertEqual(self.grown("computed_total"), BUSY + n + 1)

    def test_stream__that_is_cancelled_drops_what_waits(self):
        for client in (self.client, self.gateway):
            self.before = self.embedder.metrics()
            stream = Stream(client)
            for number in range(4 * IN_WORK):
                stream.send(id=number, model="large", image=self.fresh())
            for _ in range(3):
                stream.answer()
            stream.call.cancel()
            kindred.wait_until(lambda: self.metric("queue_images") == 0, 60)
            self.assertGreater(self.grown("dropped_total"), 0)
            self.assertLess(self.grown("computed_total"), 3 * IN_WORK)
        opened = [Stream(self.client) for _ in range(STREAMS)]  # the places are free again
        for number, stream in enumerate(opened):
            stream.send(id=number, model="plain", image=self.photos[0])
            self.assertEqual(stream.answer().id, number)
            stream.end()
            self.assertEqual(stream.code(), OK)

    def test_stream__what_is_wrong_with_one_message_fails_it_alone(self):
        for client in (self.client, self.gateway):
            stream = Stream(client)
            stream.send(id=1, model="plain", image=self.fresh())
            stream.send(id=2, image=b"no image")
            stream.send(id=3, model="large", image=self.fresh())
            stream.send(id=4, model="plain")
            stream.send(id=5, pixels={"width": 4, "height": 4, "rgb": b"too few"})
            stream.send(id=6, image=self.fresh())
            stream.end()
            answers = {answer.id: answer.embedding for answer in stream.call}
            self.assertEqual({key: one.problem.code for key, one in answers.items()},
                             {1: 0, 2: 3, 3: 3, 4: 3, 5: 3, 6: 0})
            for key, word in ((2, "JPEG"), (3, "'plain'"), (4, "no image"), (5, "7 bytes")):
                self.assertIn(word, answers[key].problem.message)
                self.assertFalse(answers[key].values)

    def test_stream__ends_by_what_is_wrong_with_all_of_it(self):
        for values, code in (({"model": "nope"}, grpc.StatusCode.NOT_FOUND),
                             ({}, grpc.StatusCode.NOT_FOUND),
                             ({"model": "plain", "vector_format": 9}, INVALID)):
            stream = Stream(self.client)
            stream.send(image=self.photos[0], **values)
            self.assertEqual(stream.code(), code, values)
        stream = Stream(self.client)
        stream.end()  # nothing asked, nothing wrong
        self.assertEqual(stream.code(), OK)

    def test_stream__one_that_idles_makes_room_for_another(self):
        opened = [Stream(self.client) for _ in range(STREAMS)]
        for stream in opened:
            stream.send(id=1, model="plain", image=self.photos[0])
            self.assertEqual(stream.answer().id, 1)
        begun = time.monotonic()
        refused = Stream(self.client)
        self.assertEqual(refused.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertLess(time.monotonic() - begun, IDLE_SECONDS / 2)

        def opens():
            for stream in opened[1:]:  # these do something
                stream.send(id=2, image=self.photos[0])
                self.assertEqual(stream.answer().id, 2)
            stream = Stream(self.client)
            stream.send(id=3, model="plain", image=self.photos[0])
            try:
                return stream.answer().id == 3 and stream
            except grpc.RpcError:
                return None
        opened.append(kindred.wait_until(opens, IDLE_SECONDS + 30))
        self.assertEqual(opened[0].code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        for stream in opened[1:]:
            stream.end()
            self.assertEqual(stream.code(), OK)

    def test_stream__ends_with_its_server(self):
        stream = Stream(self.client)
        stream.send(id=1, model="plain", image=self.photos[0])
        self.assertEqual(stream.answer().id, 1)
        begun = time.monotonic()
        self.assertEqual(self.embedder.end(), 0)
        self.assertLess(time.monotonic() - begun, 8)
        self.assertEqual(stream.code(), grpc.StatusCode.UNAVAILABLE)
        self.restart()

    # -- Forms

    def test_pixels__are_as_good_as_their_png(self):
        for seed, (width, height) in enumerate(((64, 64), (200, 131), (1, 1), (30, 90))):
            rgb = noise(width, height, seed)
            one, = self.embed([png(width, height, rgb)])
            for client in (self.client, self.gateway):
                other, = self.embed([], client,
                                    pixels=[{"width": width, "height": height, "rgb": rgb}])
                self.assertEqual(one.values, other.values)
        kindred.wait_until(lambda: self.embed(
            [], pixels=[{"width": width, "height": height, "rgb": rgb}])[0].cached, 30)
        turned, = self.embed([], pixels=[{"width": height, "height": width, "rgb": rgb}])
        self.assertFalse(turned.cached)  # the same bytes, another image
        mixed = self.embed([self.photos[0]], pixels=[{"width": 1, "height": 1, "rgb": b"abc"}])
        self.assertEqual(len(mixed), 2)
        self.assertEqual(mixed[0].values, self.embed([self.photos[0]])[0].values)

    def test_pixels__of_a_wrong_size_fail_alone(self):
        big = {"width": 4096, "height": 4096, "rgb": bytes(4096 * 4096 * 3)}
        wrong = [{"width": 0, "height": 5}, {"width": 2, "height": 2, "rgb": bytes(11)},
                 {"width": 16385, "height": 1, "rgb": bytes(16385 * 3)},
                 {"width": 2**32 - 1, "height": 2**32 - 1, "rgb": bytes(3)}, big]
        answers = self.embed([self.photos[0]], pixels=wrong)
        self.assertEqual([one.problem.code for one in answers], [0, 3, 3, 3, 3, 8])
        self.assertIn("16385 × 1", answers[3].problem.message)

    def test_float16__is_half_the_bytes_and_close(self):
        images = [self.fresh(), b"no image"]
        whole = self.embed(images)
        for answers in (self.embed(images, vector_format=2), self.embed(images, vector_format=2),
                        self.embed(images, self.gateway, vector_format=2)):
            self.assertEqual(len(answers[0].values), 0)
            self.assertEqual(len(answers[0].values_f16), 2 * self.dim)
            for a, b in zip(whole[0].values, halves(answers[0].values_f16), strict=True):
                self.assertAlmostEqual(a, b, delta=0.00025)
            self.assertEqual((answers[1].problem.code, answers[1].values_f16), (3, b""))
        streamed = self.stream_all(self.client, vector_format=2)
        whole = self.embed(self.photos[:5])
        for number, one in enumerate(whole):
            for a, b in zip(one.values, halves(streamed[number].values_f16), strict=True):
                self.assertAlmostEqual(a, b, delta=0.00025)
        self.assertEqual(whole[0].values, self.embed([self.photos[0]], vector_format=1)[0].values)
        code, answer = self.client.call(f"{SERVICE}/Embed", model="plain", images=[images[0]],
                                        vector_format=9)
        self.assertEqual(code, INVALID, answer)

    def test_cache_float16__keeps_half_and_is_close(self):
        image = self.fresh()
        whole, = self.embed([image])
        kindred.wait_until(lambda: self.embed([image])[0].cached, 30)
        self.assertEqual(self.embedder.end(), 0)
        self.restart("--cache-float16")
        again, = self.embed([image])
        self.assertFalse(again.cached)  # the other form's entry is not looked at
        kept = kindred.wait_until(
            lambda: (one := self.embed([image])[0]).cached and one, 30)
        length = sum(value * value for value in kept.values)
        self.assertAlmostEqual(length, 1, delta=1e-5)
        for a, b in zip(whole.values, kept.values, strict=True):
            self.assertAlmostEqual(a, b, delta=1e-3)
        self.assertEqual(self.embedder.end(), 0)
        self.restart()
        self.assertEqual(self.embed([image])[0].values, whole.values)  # as it was kept


if __name__ == "__main__":
    kindred.main()
