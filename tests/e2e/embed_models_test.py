"""The embedder's models: loaded beside the serving, swapped, made room for, and what can't be loaded."""

import contextlib

import faults
import grpc
import kindred
from client import OK, Client
from embedding import SERVICE, Room, Stream

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
MIB = 2**20


class Models(Room):
    SIZES = {"plain": 32, "large": 256}  # whose batches take seconds to warm up

    def setUp(self):
        self.before = self.embedder.metrics()

    def loaded(self):
        """Names of the models in memory, most recently used first."""
        return [model.name for model in self.ok("ListLoadedModels").models]

    def load(self, model):
        """Begins to load; its result() is the answer."""
        request, answer = self.client.types(f"{SERVICE}/LoadModel")
        return self.client.channel.unary_unary(
            f"/{SERVICE}/LoadModel", request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString).future(request(model=model), timeout=300)

    @contextlib.contextmanager
    def torn(self, model):
        """The model's weights are cut off meanwhile."""
        weights = self.embedder.data / "models" / model.id / "model.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole[:len(whole) // 2])
        try:
            yield
        finally:
            weights.write_bytes(whole)

    # -- Beside the serving

    def test_while_a_model_loads__others_are_served_and_its_images_wait(self):
        self.embed([self.fresh()])
        if "large" in self.loaded():
            self.ok("UnloadModel", model="large")
        self.before = self.embedder.metrics()
        loading = self.load("large")
        waiting = self.start(model="large", images=[self.fresh()])
        served = 0
        while not loading.done():
            self.assertEqual(len(self.embed([self.fresh()])[0].values), self.dim)
            if not loading.done():
                served += 1
        self.assertEqual(loading.result().model.name, "large")
        self.assertGreater(served, 2)
        self.assertEqual(len(waiting.result().embeddings[0].values), self.dim)
        self.assertEqual(self.grown("model_loads_total"), 1)

    def test_unloading__lets_the_images_in_work_end(self):
        self.embed([self.fresh()])
        busy = [self.start(model="plain", images=[self.fresh() for _ in range(64)])
                for _ in range(4)]
        self.wait_grown("images_total", 65)
        self.ok("UnloadModel", model="plain")
        for call in busy:
            self.assertEqual({len(one.values) for one in call.result().embeddings}, {self.dim})
        code, why = self.client.call(f"{SERVICE}/UnloadModel", model="never")
        self.assertEqual(code, grpc.StatusCode.NOT_FOUND, why)
        self.embed([self.fresh()])
        self.assertIn("plain", self.loaded())

    # -- What can't be loaded

    def test_a_model_that_cannot_be_loaded__says_so_and_others_go_on(self):
        model = self.make_model("hurt", 32, seed=3)
        before = self.loaded()
        with self.torn(model):
            codes = set()
            for method, values in (("LoadModel", {}), ("Embed", {"images": [self.fresh()]})):
                code, why = self.client.call(f"{SERVICE}/{method}", model="hurt", **values)
                self.assertIn("model.safetensors", why)
                codes.add(code)
            self.assertEqual(codes, {grpc.StatusCode.DATA_LOSS})
            stream = Stream(self.client)
            stream.send(id=1, model="hurt", image=self.fresh())
            stream.end()
            self.assertEqual(stream.answer().embedding.problem.code,
                             grpc.StatusCode.DATA_LOSS.value[0])
            self.assertEqual(self.loaded(), before)
            self.embed([self.fresh()])
            self.assertGreaterEqual(self.grown("model_failures_total"), 2)
        self.embed([self.fresh()], model="hurt")

    def test_a_name_that_changes_hands__is_answered_by_the_one_before_until_the_new_one_is_there(self):
        """Published anew behind the embedder's back: the gateway would have told it to unload."""
        before = self.make_model("swap", 32, seed=5)
        self.embed([self.fresh()], model="swap")
        trainer = Client(self.trainer.address)
        code, why = trainer.call("kindred.v1.TrainerService/DeleteModel", model=before.id)
        self.assertEqual(code, OK, why)
        after = self.make_model("swap", 32, seed=6)

        def answers():
            stream = Stream(self.client)
            stream.send(id=1, model="swap", image=self.fresh())
            stream.end()
            return {self.ok("Embed", model="swap", images=[self.fresh()]).model_id,
                    stream.answer().model_id}
        with self.torn(after):
            for _ in range(3):
                self.assertEqual(answers(), {before.id})
            self.wait_grown("model_failures_total", 1)
            self.assertEqual(answers(), {before.id})
            code, why = self.client.call(f"{SERVICE}/LoadModel", model="swap")
            self.assertEqual(code, grpc.StatusCode.DATA_LOSS, why)
            code, why = self.client.call(f"{SERVICE}/Embed", model=after.id, images=[self.fresh()])
            self.assertEqual(code, grpc.StatusCode.DATA_LOSS, why)
            self.assertEqual(answers(), {before.id})
        self.assertEqual(self.ok("LoadModel", model="swap").model.id, after.id)
        self.assertEqual(answers(), {after.id})
        self.assertEqual(self.loaded().count("swap"), 1)

    # -- Memory

    def test_the_budget__is_kept_by_unloading_the_least_recently_used(self):
        for seed, name in enumerate(("one", "two", "three"), 10):
            self.make_model(name, 32, seed)
        self.ok("LoadModel", model="one")
        takes = self.grown("model_bytes")
        self.assertGreater(takes, 40 * MIB)
        self.assertEqual(self.embedder.end(), 0)
        self.restart("--model-memory", int(2.5 * takes / MIB))
        for name in ("one", "two", "one", "three"):
            self.embed([self.fresh()], model=name)
        self.assertEqual(self.loaded(), ["three", "one"])
        self.assertEqual(self.metric("model_bytes"), 2 * takes)
        self.assertEqual(self.embedder.end(), 0)
        self.restart("--model-memory", 20)
        code, why = self.client.call(f"{SERVICE}/Embed", model="one", images=[self.fresh()])
        self.assertEqual(code, EXHAUSTED, why)
        self.assertRegex(why, r"model 'one' takes \d+ MiB, and models may take 20 MiB")
        self.assertEqual(self.embedder.end(), 0)
        self.restart()

    # -- Precision

    def test_bfloat16__is_refused_at_the_start_or_has_cache_entries_of_its_own(self):
        image = self.fresh()
        whole, = self.embed([image])
        kindred.wait_until(lambda: self.embed([image])[0].cached, 30)
        self.assertTrue(self.ok("ListLoadedModels").runtime.endswith(", float32"))
        self.assertEqual(self.embedder.end(), 0)
        try:
            self.restart("--precision", "bfloat16")
        except RuntimeError:
            self.assertIn("bfloat16", self.embedder.log().splitlines()[-1])
            self.restart()
            return
        self.assertTrue(self.ok("ListLoadedModels").runtime.endswith(", bfloat16"))
        other, = self.embed([image])
        self.assertFalse(other.cached)
        for a, b in zip(whole.values, other.values, strict=True):
            self.assertAlmostEqual(a, b, delta=0.01)
        kindred.wait_until(lambda: self.embed([image])[0].cached, 30)
        self.assertEqual(self.embedder.end(), 0)
        self.restart()
        self.assertEqual(self.embed([image])[0].values, whole.values)

    def test_wrong_options__are_refused(self):
        for option, value in (("--precision", "int8"), ("--model-memory", 0), ("--max-wait-ms", 0)):
            with self.assertRaisesRegex(RuntimeError, f"(?s)ended with 2.*{option} is"):
                faults.Service("embedder", option, value, data="other")


if __name__ == "__main__":
    kindred.main()
