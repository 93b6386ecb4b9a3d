"""The embedder with too much to do, and with a Redis that says nothing."""

import signal
import time

import grpc
import kindred
from embedding import Room, Stream

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
WAIT_MS = 200
STREAMS, IN_WORK = 4, 64
DECODED = 96        # images that may wait for the forward
CALLS, IMAGES = 30, 16


class Load(Room):
    OPTIONS = ("--max-wait-ms", WAIT_MS)
    SIZES = {"plain": 64, "large": 128}

    def setUp(self):
        super().setUp()
        for _ in range(2):  # it knows its pace
            self.embed([self.fresh() for _ in range(32)], model="large")
        self.before = self.embedder.metrics()

    # -- Too much

    def test_overload__is_refused_at_once_and_what_is_served_does_not_wait_long(self):
        ended = {}

        def begin():
            call, begun = self.start(model="large", images=[self.fresh() for _ in range(IMAGES)]), \
                time.monotonic()
            call.add_done_callback(lambda call: ended.setdefault(call, time.monotonic() - begun))
            return call
        begun, calls = time.monotonic(), []
        for _ in range(3):
            calls += [begin() for _ in range(CALLS)]
            self.wait_grown("computed_total", len(calls) // 4)
        for call in calls:
            call.exception()
        kindred.wait_until(lambda: len(ended) == len(calls), 30)
        took = time.monotonic() - begun
        served = [ended[call] for call in calls if call.code() == grpc.StatusCode.OK]
        refused = [ended[call] for call in calls if call.code() == EXHAUSTED]
        self.assertEqual(len(served) + len(refused), len(calls))
        self.assertGreaterEqual(len(served), 4)
        self.assertGreater(len(refused), len(calls) // 4)
        self.assertEqual(self.grown("shed_total"), len(refused) * IMAGES)
        self.assertEqual(self.grown("computed_total"), len(served) * IMAGES)
        pace = took / (len(served) * IMAGES)  # at least what an image took
        self.assertLess(max(served), CALLS * IMAGES * pace / 2)  # far from what all would have taken
        self.assertLess(sorted(refused)[len(refused) // 2], 1)
        self.assertIn("try again later", next(c for c in calls if c.code() == EXHAUSTED).details())

    def test_bulk__is_not_refused_and_a_call_does_not_wait_for_all_of_it(self):
        streams = [Stream(self.client) for _ in range(STREAMS)]
        for stream in streams:
            for number in range(2 * IN_WORK):
                stream.send(id=number, model="large", image=self.fresh())
            stream.end()
        self.wait_grown("images_total", STREAMS * IN_WORK)
        before = self.metric("computed_total")
        self.embed([self.fresh()], model="large")
        self.assertLess(self.metric("computed_total") - before, 2 * DECODED)
        for stream in streams:
            answers = list(stream.call)
            self.assertEqual(len(answers), 2 * IN_WORK)
            self.assertEqual({len(one.embedding.values) for one in answers}, {self.dim})

    def test_bulk__gets_its_turn_when_calls_never_end(self):
        stream = Stream(self.client)
        for number in range(8):
            stream.send(id=number, model="large", image=self.fresh())
        stream.end()
        calls = [self.start(model="large", images=[self.fresh() for _ in range(32)])]
        answered = 0
        for _ in stream.call:
            answered += 1
            calls.append(self.start(model="large", images=[self.fresh() for _ in range(32)]))
        self.assertEqual(answered, 8)
        for call in calls:
            call.exception()

    # -- Broken among whole

    def test_broken_images_among_whole_ones__leave_the_others_as_they_are(self):
        self.restarted("--no-cache")
        broken = {3, 4, 17, 40}
        images = [self.photos[i][:200] + b"%d" % i if i in broken else self.photos[i]
                  for i in range(64)]
        for _ in range(3):
            together = self.embed(images)
            for i, one in enumerate(together):
                self.assertEqual(one.problem.code, 3 if i in broken else 0)
        for i in (0, 2, 5, 16, 18, 39, 41, 63):
            alone, = self.embed([images[i]])
            self.assertFalse(alone.cached)
            for a, b in zip(alone.values, together[i].values, strict=True):
                self.assertAlmostEqual(a, b, delta=1e-5)
        self.assertEqual(self.grown("cache_trips_total"), 0)
        self.restarted()

    def restarted(self, *args):
        self.assertEqual(self.embedder.end(), 0)
        self.restart(*args)

    # -- Redis

    def test_a_silent_redis__costs_a_moment_and_the_cache_comes_back(self):
        image = self.fresh()
        whole, = self.embed([image])
        kindred.wait_until(lambda: self.embed([image])[0].cached, 30)
        self.redis.process.send_signal(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            again, = self.embed([image])
            self.assertFalse(again.cached)
            for _ in range(20):
                self.embed([self.fresh()])
            self.assertLess(time.monotonic() - begun, 10)
            self.assertGreaterEqual(self.grown("cache_errors_total"), 1)
        finally:
            self.redis.process.send_signal(signal.SIGCONT)
        for a, b in zip(whole.values, again.values, strict=True):
            self.assertAlmostEqual(a, b, delta=1e-5)
        kindred.wait_until(lambda: self.embed([image])[0].cached, 30)
        late = self.fresh()
        self.embed([late])
        kindred.wait_until(lambda: self.embed([late])[0].cached, 30)


if __name__ == "__main__":
    kindred.main()
