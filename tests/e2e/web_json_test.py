"""The JSON form over HTTP, with a plain client."""

import base64
import io
import json
import os
import re
import signal
import unittest

from PIL import Image

import kindred
import web
from web import JSON, Answer, ask, connect, events, form, get, post


def setUpModule():
    web.start()


class JsonForm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rows = kindred.listing(web.photos)
        cls.id, _, _, path = cls.rows[7]
        cls.photo = web.photos / path
        cls.bytes = cls.photo.read_bytes()

    def refused(self, status, code, says, answer):
        self.assertEqual((answer.status, answer.json["code"]), (status, code), answer.body)
        self.assertIn(says, answer.json["message"])
        self.assertEqual(set(answer.json), {"code", "message"})

    def search(self, body=None, headers=None, **fields):
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        answer = ask("POST", f"/v1/search?collection=shop&{query}", body, headers)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json

    @staticmethod
    def ids(answer):
        return [int(hit["item"]["image_id"]) for hit in answer["hits"]]

    def test_json__describes_the_stack(self):
        status = get("/v1/status").json
        self.assertTrue(all(one["serving"] for one in status["services"]), status)
        listed = get("/v1/collections").json["collections"]
        self.assertEqual([one["name"] for one in listed], ["shop"])
        described = get("/v1/collections/shop").json["collection"]
        self.assertEqual(described["count"], len(self.rows))
        items = get("/v1/collections/shop/items?page_size=3").json
        self.assertEqual([one["image_id"] for one in items["items"]],
                         [row[0] for row in self.rows[:3]])
        more = get(f"/v1/collections/shop/items?page_token={items['next_page_token']}").json
        self.assertEqual(more["items"][0]["image_id"], self.rows[3][0])
        item = get(f"/v1/collections/shop/items/{self.id}").json
        self.assertEqual(item["item"]["uri"], str(self.photo))
        models = get("/v1/models").json["models"]
        self.assertEqual([one["name"] for one in models], ["plain"])
        self.assertEqual(get("/v1/models/plain").json["model"]["id"], models[0]["id"])

    def test_json__every_form_of_a_search_finds_the_same(self):
        expected = [hit["item"]["image_id"] for hit in web.stack.ok(
            "search", self.photo, "--collection", "shop", "-k", 5)["results"][0]["hits"]]
        self.assertEqual(expected[0], self.id)
        jpeg = {"Content-Type": "image/jpeg"}
        self.assertEqual(self.ids(self.search(self.bytes, jpeg)), expected)
        octets = {"Content-Type": "application/octet-stream"}
        self.assertEqual(self.ids(self.search(self.bytes, octets, k=3)), expected[:3])
        sent = form(("image", "a.jpg", self.bytes), ("k", "5"))
        self.assertEqual(self.ids(self.search(*sent)), expected)
        sent = form(("request", json.dumps({"k": 4})), ("image", "a.jpg", self.bytes))
        self.assertEqual(self.ids(self.search(*sent)), expected[:4])
        inside = {"collection": "shop", "k": 5, "image": base64.b64encode(self.bytes).decode()}
        self.assertEqual(self.ids(post("/v1/search", inside).json), expected)
        embedded = ask("POST", "/v1/embed?model=plain", self.bytes, jpeg).json
        vector = embedded["embeddings"][0]["values"]
        self.assertAlmostEqual(sum(x * x for x in vector), 1, places=5)
        by_vector = {"collection": "shop", "k": 5, "vector": {"values": vector}}
        self.assertEqual(self.ids(post("/v1/search", by_vector).json), expected)
        # An image of the collection is left out of its own answer.
        others = self.ids(get(f"/v1/search?collection=shop&image_id={self.id}&k=4").json)
        self.assertEqual(others, expected[1:])
        like = {"collection": "shop", "k": 4, "like": {"positive_image_ids": [self.id]}}
        self.assertEqual(self.ids(post("/v1/search", like).json), others)

    def test_json__filters(self):
        def hits(more=""):
            return get(f"/v1/search?collection=shop&image_id={self.id}&k=1000{more}").json["hits"]

        def supers(found):
            return {hit["item"]["super_class_name"] for hit in found}

        found = hits()
        self.assertEqual(len(found), len(self.rows) - 1)
        above = found[0]["item"]["super_class_name"]
        self.assertEqual(supers(hits(f"&super_classes={above}")), {above})
        self.assertEqual(supers(hits("&super_classes=mug&super_classes=sofa")), {"mug", "sofa"})
        least = found[9]["score"]
        near = hits(f"&min_score={least}")
        self.assertGreaterEqual(len(near), 9)
        self.assertTrue(all(hit["score"] >= least - 1e-6 for hit in near))
        once = hits("&by_class=true")
        self.assertEqual(len({hit["item"]["class_id"] for hit in once}), len(once))
        web.stack.ok("collection", "add", "shop", self.photo, "--image-id", 9001, "--class-id", 1,
                 "--super-class-id", 1, "--attribute", "color=red", "--attribute", "price=12")
        where = {"collection": "shop", "image_id": str(self.id), "k": 5, "conditions": [
            {"name": "color", "any_of": {"texts": ["red", "blue"]}},
            {"name": "price", "range": {"max": {"value": 20}}}]}
        self.assertEqual(self.ids(post("/v1/search", where).json), [9001])
        web.stack.ok("collection", "delete", "shop", 9001)

    def test_json__embeds_several(self):
        body, headers = form(("model", "plain"), ("image", "a.jpg", self.bytes),
                             ("image", "b.jpg", b"not a picture"))
        answer = ask("POST", "/v1/embed", body, headers)
        self.assertEqual(answer.status, 200, answer.body)
        first, second = answer.json["embeddings"]
        self.assertEqual(len(first["values"]), 512)
        self.assertEqual(second["problem"]["code"], 3)
        inside = {"model": "plain", "images": [base64.b64encode(self.bytes).decode()]}
        self.assertEqual(post("/v1/embed", inside).json["embeddings"][0]["values"], first["values"])

    def test_json__says_what_is_wrong(self):
        bad = "INVALID_ARGUMENT"
        jpeg = {"Content-Type": "image/jpeg"}
        self.refused(404, "NOT_FOUND", "'none'", get("/v1/collections/none"))
        self.refused(404, "NOT_FOUND", "there is no /v1/nothing", get("/v1/nothing"))
        self.refused(405, "UNIMPLEMENTED", "POST is not possible", post("/v1/models", {}))
        self.refused(405, "UNIMPLEMENTED", "POST is", get("/v1/embed"))
        self.refused(400, bad, "names no collection", ask("POST", "/v1/search", self.bytes, jpeg))
        self.refused(400, bad, "no image, vector", get("/v1/search?collection=shop"))
        self.refused(400, bad, "k is 1001", get("/v1/search?collection=shop&image_id=1&k=1001"))
        self.refused(400, bad, "k can't be 'many'", get("/v1/search?collection=shop&k=many"))
        self.refused(400, bad, "kk is no field of a SearchProductsRequest", get("/v1/search?kk=1"))
        self.refused(400, bad, "", ask("POST", "/v1/search?collection=shop", b"no picture", jpeg))
        self.refused(400, bad, "another query beside it", ask(
            "POST", "/v1/search?collection=shop&image_id=1", self.bytes, jpeg))
        like = {"like": {"positive_image_ids": [self.id]}}
        both = form(("request", json.dumps(like)), ("image", "a.jpg", self.bytes))
        self.refused(400, bad, "another query beside it", ask(
            "POST", "/v1/search?collection=shop", *both))
        self.refused(400, bad, "neither a picture", ask(
            "POST", "/v1/search?collection=shop", "hello", {"Content-Type": "text/plain"}))
        self.refused(400, bad, "not JSON: line 1", ask("POST", "/v1/search", "{", JSON))
        self.refused(400, bad, "spec.index.datset is no field of a IndexSpec", post(
            "/v1/jobs", {"spec": {"index": {"datset": "/x"}}}))
        self.refused(400, bad, "not application/json", ask(
            "POST", "/v1/jobs", "a=b", {"Content-Type": "application/x-www-form-urlencoded"}))
        two = form(("image", "a.jpg", self.bytes), ("image", "b.jpg", self.bytes))
        self.refused(400, bad, "by one image, here are 2", ask(
            "POST", "/v1/search?collection=shop", *two))
        stray = form(("photo", "a.jpg", self.bytes))
        self.refused(400, bad, "pictures are called image", ask("POST", "/v1/search", *stray))
        self.refused(404, "NOT_FOUND", "nobody", get("/v1/jobs/nobody"))
        self.refused(404, "NOT_FOUND", "nobody", get("/v1/jobs/nobody/watch"))
        self.refused(403, "PERMISSION_DENIED", "another site", ask(
            "POST", "/v1/jobs", "{}", {**JSON, "Origin": "http://evil.example"}))
        self.refused(403, "PERMISSION_DENIED", "another site", ask(
            "POST", "/v1/search", "{}", {**JSON, "Sec-Fetch-Site": "cross-site"}))
        self.refused(421, "PERMISSION_DENIED", "evil.example", get(
            "/v1/status", Host="evil.example"))

    def test_json__refuses_a_body_over_the_limit_before_it_comes(self):
        for path, size in (("/v1/search", (64 << 20) + 1), ("/v1/jobs", (16 << 20) + 1)):
            connection = connect()
            connection.putrequest("POST", path)
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(size))
            connection.endheaders()
            self.refused(413, "RESOURCE_EXHAUSTED", str(size), Answer(connection.getresponse()))
            connection.close()

    def test_json__hands_the_trace_on(self):
        trace = "0af7651916cd43dd8448eb211c80319c"
        answer = get("/v1/collections", traceparent=f"00-{trace}-b7ad6b7169203331-01")
        self.assertEqual(answer.headers["X-Trace-Id"], trace)
        other = get("/v1/collections", traceparent="nonsense").headers["X-Trace-Id"]
        self.assertRegex(other, "^[0-9a-f]{32}$")

    def test_json__pictures_of_indexed_images(self):
        answer = get(f"/v1/collections/shop/items/{self.id}/image?size=48")
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "image/jpeg"))
        self.assertEqual(max(Image.open(io.BytesIO(answer.body)).size), 48)
        path = f"/v1/collections/shop/items/{self.id}/image"
        self.refused(400, "INVALID_ARGUMENT", "allowed are 1 to 512", get(f"{path}?size=513"))
        self.refused(404, "NOT_FOUND", "77777", get("/v1/collections/shop/items/77777/image"))
        self.refused(400, "INVALID_ARGUMENT", "'x' is not", get(
            "/v1/collections/shop/items/x/image"))

    def test_json__jobs_from_submission_to_report(self):
        spec = {"spec": {"evaluate": {"dataset": str(web.photos), "models": ["plain"]}},
                "request_id": "r1"}
        job = post("/v1/jobs", spec).json["job"]
        self.assertEqual(post("/v1/jobs", spec).json["job"]["id"], job["id"], "asked twice")
        seen = list(events(job["id"]))
        self.assertEqual({event for event, _ in seen}, {"job"})
        self.assertEqual(seen[-1][1]["state"], "done", seen[-1])
        self.assertEqual(get(f"/v1/jobs/{job['id']}").json["job"], seen[-1][1])
        listed = get("/v1/jobs?kind=evaluate&state=done").json["jobs"]
        self.assertIn(job["id"], [one["id"] for one in listed])
        self.refused(400, "FAILED_PRECONDITION", job["id"], post(f"/v1/jobs/{job['id']}/cancel"))
        for root in (f"/v1/jobs/{job['id']}/report", f"/reports/{job['id']}"):
            page = get(f"{root}/report.html")
            self.assertEqual(page.status, 200, page.body)
            self.assertIn("sandbox", page.headers["Content-Security-Policy"])
            self.assertIn(b"<!doctype html>", page.body[:40].lower())
            report = get(f"{root}/report.json").json
            self.assertEqual(report["models"][0]["name"], "plain")
        for path in ("../../models", "%2e%2e/%2e%2e/redis/x", "report.txt", "rows/../report.json"):
            self.refused(404, "NOT_FOUND", "", get(f"/v1/jobs/{job['id']}/report/{path}"))

    def test_page__headers(self):
        page = get("/")
        policy = page.headers["Content-Security-Policy"]
        self.assertIn("default-src 'none'; script-src 'self'; style-src 'self'", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertEqual(page.headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(page.headers["Referrer-Policy"], "no-referrer")
        policy = get("/v1/status").headers["Content-Security-Policy"]
        self.assertEqual(policy, "default-src 'none'; frame-ancestors 'none'")
        again = get("/", **{"If-None-Match": page.headers["ETag"]})
        self.assertEqual((again.status, again.body), (304, b""))
        for path in re.findall(r'(?:src|href)="(/page/[^"]+)"', page.body.decode()):
            self.assertEqual(get(path).status, 200, path)

    def test_page__outlives_a_service(self):
        """What a part that is away means is said, and over once it is back."""
        embedder = web.stack.pids()["embedder"]
        os.kill(embedder, signal.SIGSTOP)
        try:
            self.assertEqual(get("/v1/collections").status, 200)
        finally:
            os.kill(embedder, signal.SIGCONT)
        found = self.search(self.bytes, {"Content-Type": "image/jpeg"})
        self.assertEqual(self.ids(found)[0], self.id)


if __name__ == "__main__":
    kindred.main()
