"""A Python client finds every service by reflection and calls every method of each."""

import json
import unittest

import grpc
import kindred
from client import OK, REFLECTION, Client, Reflection, fields, text

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


class EveryMethod(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = kindred.Stack("grpc").up()
        cls.dataset = kindred.draw(products=1, views=3)
        cls.client = Client(cls.stack.address("gateway"))

    def ok(self, path, **values):
        code, answer = self.client.call(path, **values)
        self.assertEqual(code, OK, f"{path}: {answer}")
        return answer

    def fails(self, expected, path, **values):
        code, answer = self.client.call(path, **values)
        self.assertEqual(code, expected, f"{path}: {answer}")
        self.assertTrue(answer, path)

    def test_reflection__both_versions_say_the_same(self):
        for service, own in (("gateway", "GatewayService"), ("embedder", "EmbedderService"),
                             ("indexer", "IndexerService"), ("trainer", "TrainerService")):
            with grpc.insecure_channel(self.stack.address(service)) as channel:
                first, second = (Reflection(channel, package) for package in REFLECTION)
                self.assertEqual(first.services(), second.services())
                self.assertIn(f"kindred.v1.{own}", first.services())
                training = ["kindred/v1/training.proto"] if service in ("gateway", "trainer") else []
                names = [f"kindred/v1/{service}.proto", *training, "kindred/v1/common.proto",
                         "kindred/v1/access.proto", "google/protobuf/descriptor.proto"]
                self.assertEqual(
                    [file.name for file in first.files(f"kindred.v1.{own}")], names)
                absent, = second.ask(text(4, "kindred.v1.NoSuchService"))
                self.assertEqual(dict(fields(absent[7]))[1], 5)

    def test_every_method_that_reflection_finds_can_be_called(self):
        gateway, embedder, indexer, trainer, process, health = (
            "kindred.v1.GatewayService", "kindred.v1.EmbedderService", "kindred.v1.IndexerService",
            "kindred.v1.TrainerService", "kindred.v1.ProcessService", "grpc.health.v1.Health")
        self.assertEqual(set(self.client.names), {
            gateway, embedder, indexer, trainer, process, health,
            *(f"{package}.ServerReflection" for package in REFLECTION)})

        told = self.ok(f"{gateway}/GetDataset", dataset=str(self.dataset))
        self.assertEqual(told.train.images, len(kindred.listing(self.dataset)))
        self.assertEqual(told.test.images, len(kindred.listing(self.dataset, "test")))
        self.assertEqual(len(told.test.data_hash), 64)
        status = self.ok(f"{gateway}/GetStatus")
        self.assertTrue(all(one.serving for one in status.services))
        about = self.ok(f"{process}/GetProcess")
        self.assertEqual(about.disk_path, str(self.stack.data))
        self.assertGreater(about.disk_total_bytes, about.disk_free_bytes)
        for one in status.services:
            if one.name != "redis":
                self.assertEqual((one.version, one.disk_path, one.disk_total_bytes),
                                 (status.version, about.disk_path, about.disk_total_bytes), one)
        self.assertEqual(self.ok(f"{health}/Check").status, 1)
        for service in ("", "gateway", "indexer"):
            told = self.ok(f"{process}/SetLogLevel", service=service, level="info")
            self.assertEqual(told.previous_level, "info")
        self.fails(INVALID, f"{process}/SetLogLevel", level="loud")
        self.fails(INVALID, f"{process}/SetLogLevel", level="info", service="redis")

        model = self.ok(f"{trainer}/ImportModel", random=True, name="plain", image_size=64).model
        self.assertEqual(
            self.ok(f"{trainer}/GetModel", model="plain", verify=True).model.id, model.id)
        self.assertEqual([one.id for one in self.ok(f"{trainer}/ListModels").models], [model.id])
        pieces = self.ok(f"{trainer}/ExportModel", model="plain")
        self.assertEqual(sum(len(piece.data) for piece in pieces), pieces[0].total_bytes)

        self.ok(f"{embedder}/LoadModel", model="plain")
        loaded = self.ok(f"{embedder}/ListLoadedModels").models
        self.assertEqual([one.id for one in loaded], [model.id])
        row = kindred.listing(self.dataset)[0]
        image = (self.dataset / row[3]).read_bytes()
        embedding = self.ok(f"{embedder}/Embed", model="plain", images=[image]).embeddings[0]
        self.assertEqual(len(embedding.values), model.dim)
        counts = self.ok(f"{embedder}/GetEmbedCounts")
        self.assertEqual((counts.images, counts.computed, counts.has_cache), (1, 1, True))
        streamed, = self.ok(f"{embedder}/EmbedStream", model="plain", id=7, image=image)
        self.assertEqual((streamed.id, streamed.embedding.values), (7, embedding.values))
        self.ok(f"{embedder}/UnloadModel", model="plain")

        self.ok(f"{indexer}/CreateCollection", name="shop", model_id=model.id, dim=model.dim)
        item = {"image_id": 1, "class_id": 1, "super_class_id": 1, "super_class_name": "x"}
        self.ok(f"{indexer}/Upsert", collection="shop", model_id=model.id,
                items=[{"item": item, "values": embedding.values}])
        self.ok(f"{gateway}/AddImage", collection="shop", image=image, item={**item, "image_id": 2})
        self.assertEqual(self.ok(f"{indexer}/GetCollection", name="shop").collection.count, 2)
        self.assertEqual(len(self.ok(f"{indexer}/ListCollections").collections), 1)
        self.assertEqual(len(self.ok(f"{indexer}/ListItems", collection="shop").items), 2)
        self.assertEqual(self.ok(f"{indexer}/GetItem", collection="shop", image_id=2).item.image_id, 2)
        found = self.ok(f"{indexer}/Search", collection="shop", model_id=model.id, k=5,
                        queries=[{"values": embedding.values}])
        self.assertEqual([hit.item.image_id for hit in found.results[0].hits], [1, 2])
        found = self.ok(f"{gateway}/SearchProducts", collection="shop", image=image, k=1)
        self.assertEqual(found.hits[0].item.image_id, 1)
        snapshot = self.ok(f"{indexer}/SnapshotCollection", name="shop").file
        self.ok(f"{indexer}/RestoreCollection", name="again", file=snapshot)
        self.ok(f"{indexer}/UpdateCollection", name="again", index={"kind": "exact"})
        self.ok(f"{indexer}/SetAlias", alias="front", collection="again")
        self.assertEqual(
            self.ok(f"{indexer}/DeleteItems", collection="front", image_ids=[1, 9]).deleted, 1)
        self.fails(PRECONDITION, f"{indexer}/DeleteCollection", name="again")
        self.ok(f"{indexer}/SetAlias", alias="front")
        self.ok(f"{indexer}/DeleteCollection", name="again")

        spec = {"index": {"dataset": str(self.dataset), "model": "plain", "collection": "all"}}
        job = self.ok(f"{gateway}/SubmitJob", spec=spec, request_id="mine").job
        self.assertEqual(
            self.ok(f"{gateway}/SubmitJob", spec=spec, request_id="mine").job.id, job.id)
        other = {"index": {**spec["index"], "split": "test"}}
        second = self.ok(f"{gateway}/SubmitJob", spec=other, request_id="mine").job
        self.assertNotEqual(second.id, job.id)
        self.assertEqual(self.ok(f"{gateway}/WatchJob", job_id=second.id)[-1].job.state, 3)
        watched = self.ok(f"{gateway}/WatchJob", job_id=job.id)
        self.assertEqual(watched[-1].job.state, 3, watched[-1])
        self.assertEqual(self.ok(f"{gateway}/GetJob", job_id=job.id).job.state, 3)
        self.fails(INVALID, f"{gateway}/ListJobs", state=99)
        self.assertEqual([one.id for one in self.ok(f"{gateway}/ListJobs").jobs],
                         [second.id, job.id])
        self.fails(PRECONDITION, f"{gateway}/CancelJob", job_id=job.id)
        self.fails(PRECONDITION, f"{gateway}/RetryJob", job_id=job.id)
        self.fails(NOT_FOUND, f"{gateway}/GetReport", job_id="no-such-job", file="report.json")
        for file in ("", "rows", "rows/../report.json", "../../models", "rows/a/b.png"):
            self.fails(INVALID, f"{gateway}/GetReport", job_id=job.id, file=file)
        self.fails(PRECONDITION, f"{trainer}/DeleteModel", model="plain")
        spec = {"dataset": str(self.dataset), "loss": "arcface", "model": "plain", "memory": 64}
        self.fails(INVALID, f"{trainer}/CheckTraining", spec=spec)
        del spec["memory"]
        settings = json.loads(self.ok(f"{trainer}/CheckTraining", spec=spec).settings)
        self.assertEqual(settings["scale"], 64)
        self.fails(NOT_FOUND, f"{trainer}/GetRunFile", job_id="no-such-job")

        self.watch_health(health)
        for package in REFLECTION:
            self.client.called.add(f"{package}.ServerReflection/ServerReflectionInfo")
            self.assertEqual(Reflection(self.client.channel, package).services(), self.client.names)
        self.assertEqual(self.client.called, self.client.methods())

    def watch_health(self, health):
        """A stream that only the client ends."""
        stream = self.client.channel.unary_stream(f"/{health}/Watch")(b"", timeout=60)
        self.assertEqual(dict(fields(next(stream))), {1: 1})
        stream.cancel()
        self.client.called.add(f"{health}/Watch")

    def test_odd_headers_and_compressed_messages_leave_nothing_behind(self):
        """What the core lets in but won't send on, and what it would unpack before looking."""
        path = "/kindred.v1.IndexerService/ListCollections"  # which the gateway passes on
        with grpc.insecure_channel(self.stack.address("gateway")) as channel:
            call = channel.unary_unary(path)
            for value in ("caf\xc3\xa9", "plain"):
                try:
                    call(b"", metadata=(("x-note", value),), timeout=30)
                except (grpc.RpcError, TypeError, ValueError) as problem:
                    # The Python client may refuse it itself; it must not hang.
                    self.assertNotIn("DEADLINE", str(problem))
            with self.assertRaises(grpc.RpcError) as caught:
                call(b"\x7a\xff\x07" + b"\0" * 1023, timeout=30, compression=grpc.Compression.Gzip)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
            call(b"", timeout=30)

    def test_a_method_that_is_not_there_is_unimplemented(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.client.channel.unary_unary("/kindred.v1.GatewayService/Dance")(b"", timeout=30)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)


if __name__ == "__main__":
    kindred.main()
