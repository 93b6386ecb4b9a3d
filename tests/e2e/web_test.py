"""The gateway over HTTP: the JSON form with a plain client, the page in a browser.

Pictures of the page are left in the folder KINDRED_E2E_PICTURES, where that is set.
"""

import base64
import http.client
import io
import json
import os
import re
import signal
import unittest
from pathlib import Path

from PIL import Image

import kindred
from browser import Browser

JSON = {"Content-Type": "application/json"}
PICTURES = os.environ.get("KINDRED_E2E_PICTURES")
stack = None
photos = None


def setUpModule():
    """720 pictures would be the demo's; these are 120 of 24 products, and an untrained model."""
    global stack, photos
    photos = kindred.draw("photos", products=2, views=5, size=96)
    stack = kindred.Stack().up()
    stack.ok("model", "init", "--name", "plain", "--image-size", 64)
    stack.ok("index", photos, "--model", "plain", "--collection", "shop")


class Answer:
    def __init__(self, answer):
        self.status, self.headers = answer.status, answer.headers
        self.body = answer.read()

    @property
    def json(self):
        return json.loads(self.body)


def address(of):
    return of.facts()["services"]["gateway"]["http"]


def connect():
    return http.client.HTTPConnection(address(stack), timeout=60)


def ask(method, path, body=None, headers=None):
    connection = connect()
    try:
        connection.request(method, path, body, headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def get(path, **headers):
    return ask("GET", path, headers=headers)


def post(path, value=None):
    return ask("POST", path, None if value is None else json.dumps(value), JSON)


def form(*fields):
    """(name, value) or (name, file name, bytes) as multipart/form-data: body and its headers."""
    body = b""
    for name, *rest in fields:
        file = f'; filename="{rest[0]}"' if len(rest) == 2 else ""
        value = rest[-1] if isinstance(rest[-1], bytes) else rest[-1].encode()
        body += (f'--cut\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
                 + value + b"\r\n")
    return body + b"--cut--\r\n", {"Content-Type": "multipart/form-data; boundary=cut"}


def events(job_id):
    """Each (event, data) of a job's watch."""
    connection = connect()
    connection.request("GET", f"/v1/jobs/{job_id}/watch")
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    event = None
    for line in iter(answer.readline, b""):
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)
    connection.close()


class JsonForm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rows = kindred.listing(photos)
        cls.id, _, _, path = cls.rows[7]
        cls.photo = photos / path
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
        expected = [hit["item"]["image_id"] for hit in stack.ok(
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
        stack.ok("collection", "add", "shop", self.photo, "--image-id", 9001, "--class-id", 1,
                 "--super-class-id", 1, "--attribute", "color=red", "--attribute", "price=12")
        where = {"collection": "shop", "image_id": str(self.id), "k": 5, "conditions": [
            {"name": "color", "any_of": {"texts": ["red", "blue"]}},
            {"name": "price", "range": {"max": {"value": 20}}}]}
        self.assertEqual(self.ids(post("/v1/search", where).json), [9001])
        stack.ok("collection", "delete", "shop", 9001)

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
        spec = {"spec": {"evaluate": {"dataset": str(photos), "models": ["plain"]}},
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
        embedder = stack.pids()["embedder"]
        os.kill(embedder, signal.SIGSTOP)
        try:
            self.assertEqual(get("/v1/collections").status, 200)
        finally:
            os.kill(embedder, signal.SIGCONT)
        found = self.search(self.bytes, {"Content-Type": "image/jpeg"})
        self.assertEqual(self.ids(found)[0], self.id)


@unittest.skipIf(Browser.missing(), Browser.missing())
class InABrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = Browser(kindred.folder())
        cls.addClassCleanup(cls.browser.end)
        cls.url = f"http://{address(stack)}"
        cls.photo = photos / kindred.listing(photos)[7][3]

    def page(self, path="/", **how):
        page = self.browser.page(**how)
        self.addCleanup(page.close)
        page.open(path if path.startswith("about:") else self.url + path)
        return page

    @staticmethod
    def picture(page, name):
        if PICTURES:
            page.wait("[...document.images].every((one) => one.complete)")
            page.picture(Path(PICTURES) / f"{name}.png")

    def calm(self, page):
        """Nothing was complained of, nothing is wider than the page."""
        self.assertEqual(page.complaints, [])
        self.assertLessEqual(page.run("document.documentElement.scrollWidth - innerWidth"), 0)

    FOUND = "document.querySelectorAll('#results .score').length"

    def test_search__from_a_photograph_to_the_next(self):
        page = self.page()
        page.wait("document.querySelectorAll('#results .hit').length === 24")
        self.picture(page, "browse")
        page.choose_file("#file", self.photo)
        page.wait(f"{self.FOUND} === 12")
        self.assertIn("12 results", page.text("#status"))
        scores = [float(text) for text in page.texts("#results .score")]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertGreater(scores[0], 0.999)
        self.assertIn(self.photo.name, page.text("#query"))
        self.picture(page, "results")

        page.click("#by-class")
        page.wait("new Set([...document.querySelectorAll('#results .name')]"
                  ".map((one) => one.innerText)).size === 12")
        page.click("#super-class")
        page.type("mug")
        page.key("Enter")
        page.wait("[...document.querySelectorAll('#results .kind')]"
                  ".every((one) => one.innerText === 'mug')")
        self.assertEqual(len(page.texts("#results .hit")), 2, "the products of a super-class")
        self.assertIn("super_class=mug", page.run("location.search"))

        image = page.run("document.querySelector('#results .hit').dataset.image")
        page.click("#results .hit")
        page.wait(f"location.search.includes('image={image}')")
        page.wait("document.querySelector('#status').innerText.includes('result')")
        self.assertIn(f"Image {image} of shop", page.text("#query"))
        shared = page.run("location.href")
        asked = "document.querySelector('#query').innerText"
        page.run("history.back()")  # to the photograph of before
        page.wait(f"{asked}.includes({json.dumps(self.photo.name)})")
        page.run("history.forward()")
        page.wait(f"{asked}.includes('Image {image} of shop')")
        self.calm(page)

        other = self.page(shared[len(self.url):])
        other.wait(f"{self.FOUND} > 0")
        self.assertEqual(other.texts("#results .about"), page.texts("#results .about"))
        self.assertEqual(other.run("document.querySelector('#super-class').value"), "mug")

    def test_search__says_what_is_wrong(self):
        broken = kindred.folder() / "broken.jpg"
        broken.write_bytes(b"\xff\xd8 no picture at all")
        page = self.page()
        page.wait("document.querySelectorAll('#results .hit').length > 0")
        page.choose_file("#file", broken)
        page.wait("document.querySelector('#error .error')")
        self.picture(page, "error")
        self.assertEqual(len(page.texts("#results .hit")), 0)
        page.choose_file("#file", self.photo)
        page.wait(f"{self.FOUND} > 0")
        self.assertEqual(page.text("#error"), "")
        page.run("document.querySelector('#min-score').value = 1; "
                 "document.querySelector('#min-score').dispatchEvent(new Event('change'))")
        page.click("#super-class")
        page.type("sofa")
        page.key("Enter")
        page.wait("document.querySelector('#empty button')")
        self.picture(page, "nothing")
        page.click("#empty button")
        page.wait(f"{self.FOUND} === 12")

    def test_search__with_the_keyboard_alone(self):
        page = self.page()
        page.wait("document.querySelectorAll('#results .hit').length > 0")
        met = []
        for _ in range(40):
            page.key("Tab")
            met.append(page.run("""(() => {
                const one = document.activeElement;
                const seen = [one, one.closest(".button") ?? one].some(
                    (shown) => getComputedStyle(shown).outlineStyle !== "none");
                return [one.id || one.className || one.innerText, seen];
            })()"""))
            if met[-1][0] == "hit":
                break
        names = [name for name, _ in met]
        self.assertEqual(names[0], "skip", "the way past the head comes first")
        for name in ("brand", "Collections", "file", "collection", "super-class", "min-score",
                     "count", "by-class", "hit"):
            self.assertIn(name, names)
        self.assertEqual([name for name, seen in met if not seen], [], "focus is seen")
        page.key("Enter")
        page.wait(f"{self.FOUND} === 12")
        self.assertEqual(page.run("document.activeElement.id"), "found-title")
        unnamed = page.run("[...document.querySelectorAll('input, select, button')].filter("
                           "(one) => !one.labels?.length && !one.textContent).length")
        self.assertEqual(unnamed, 0)
        live = page.run("[document.querySelector('#status').getAttribute('role'), "
                        "document.querySelector('#error').getAttribute('role')]")
        self.assertEqual(live, ["status", "alert"])

    def test_jobs__are_followed_cancelled_and_queued_again(self):
        submitted = post("/v1/jobs", {"spec": {"train": {
            "dataset": str(photos), "loss": "triplet", "model": "plain", "name": "trained",
            "epochs": 1000, "image_size": 64}}})
        job = submitted.json["job"]["id"]
        page = self.page(f"/jobs/{job}")
        page.wait("document.querySelector('.live progress')")
        numbers = "document.querySelector('.live .numbers').innerText"
        page.wait(f"{numbers}.includes('a second')", timeout=60)
        page.wait(f"{numbers} !== {json.dumps(page.text('.live .numbers'))}", timeout=60)
        self.picture(page, "job-running")
        running = self.page("/jobs?state=running")
        running.wait("document.querySelector('tbody progress')")
        self.picture(running, "jobs")
        page.click("#cancel")
        page.wait("document.querySelector('.state.cancelled')", timeout=60)
        page.click("#retry")
        page.wait("document.querySelector('.state.queued, .state.running')", timeout=60)
        page.wait("document.querySelector('#cancel')")
        page.click("#cancel")
        page.wait("document.querySelector('.state.cancelled')", timeout=60)
        self.picture(page, "job-cancelled")
        self.calm(page)

    def test_report__opens_under_its_own_policy(self):
        stack.ok("evaluate", photos, "--model", "plain", "--out", kindred.folder() / "out")
        page = self.page("/reports")
        page.wait("document.querySelector('tbody a')")
        self.picture(page, "reports")
        self.calm(page)
        page.click("tbody a")
        page.wait("document.title.includes('report') || document.querySelector('h1')")
        page.wait("document.images.length > 12 && [...document.images].every("
                  "(one) => one.complete && one.naturalWidth > 0)")
        strip = page.run("getComputedStyle(document.querySelector('.strip')).display")
        self.assertEqual(strip, "grid", "its style is let in")
        self.assertEqual(page.complaints, [])
        self.picture(page, "report")

    def test_lists__and_every_page_on_a_phone_and_in_the_dark(self):
        job = stack.ok("job", "list")["jobs"][-1]["id"]
        image = kindred.listing(photos)[7][0]
        pages = {"search": f"/?collection=shop&image={image}", "collections": "/collections",
                 "models": "/models", "jobs": "/jobs", "job": f"/jobs/{job}"}
        ready = ("document.querySelector('tbody tr, #results .score, .facts') && "
                 "document.querySelector('#status').innerText !== 'Loading…'")
        phone = {"width": 390, "height": 844, "phone": True}
        ways = {"desktop": {}, "phone-dark": {**phone, "dark": True}}
        if PICTURES:
            ways |= {"dark": {"dark": True}, "phone": phone}
        for how, options in ways.items():
            page = self.page("about:blank", **options)
            for name, path in pages.items():
                page.open(self.url + path)
                page.wait(ready)
                self.picture(page, f"{name}-{how}")
                self.calm(page)

    def test_key__is_sent_and_kept_in_the_tab(self):
        page = self.page("/models")
        page.wait("document.querySelector('tbody tr')")
        page.click("#key summary")
        page.click("#key-text")
        page.type("a-key")
        page.key("Enter")
        page.wait("document.readyState === 'complete' && "
                  "sessionStorage.getItem('kindred-key') === 'a-key'")
        page.wait("document.querySelector('tbody tr')")
        image = kindred.listing(photos)[7][0]
        page.open(f"{self.url}/?collection=shop&image={image}")
        page.wait(f"{self.FOUND} > 0")
        page.wait("document.querySelector('#query img').src.startsWith('blob:')")
        self.calm(page)


class EmptyStack(unittest.TestCase):
    """Another stack: with nothing in it, and on its way down."""

    def test_pages__say_what_to_do_next(self):
        empty = kindred.Stack("empty").up()
        connection = http.client.HTTPConnection(address(empty), timeout=60)
        connection.request("POST", "/v1/jobs", json.dumps({"spec": {"train": {
            "dataset": str(photos), "loss": "triplet", "epochs": 1000, "image_size": 64}}}), JSON)
        job = json.loads(connection.getresponse().read())["job"]["id"]
        if not Browser.missing():
            browser = Browser(kindred.folder() / "data")
            self.addCleanup(browser.end)
            for path, command in (("/", "kindred index"), ("/collections", "kindred index"),
                                  ("/models", "kindred model import"),
                                  ("/reports", "kindred evaluate")):
                page = browser.page()
                page.open(f"http://{address(empty)}{path}")
                page.wait("document.querySelector('.empty pre')")
                self.assertIn(command, page.text(".empty"))
                if path == "/":
                    InABrowser.picture(page, "empty")
                page.close()
        # A watch ends when its gateway does, and the gateway ends well.
        connection.request("GET", f"/v1/jobs/{job}/watch")
        answer = connection.getresponse()
        self.assertEqual(answer.readline(), b"event: job\n")
        empty.down()
        self.assertIn(b'"state":', answer.read())
        connection.close()
        self.assertIn("event=ended", empty.log("gateway").splitlines()[-1])


if __name__ == "__main__":
    kindred.main()
