"""The gateway's page in a browser.

Pictures of it are left in the folder KINDRED_E2E_PICTURES, where that is set.
"""

import http.client
import json
import unittest

import kindred
import web
from browser import Browser
from web import JSON, PICTURES, address, post


def setUpModule():
    web.start()


@unittest.skipIf(Browser.missing(), Browser.missing())
class InABrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = Browser(kindred.folder())
        cls.addClassCleanup(cls.browser.end)
        cls.url = f"http://{address(web.stack)}"
        cls.photo = web.photos / kindred.listing(web.photos)[7][3]

    def page(self, path="/", **how):
        page = self.browser.page(**how)
        self.addCleanup(page.close)
        page.open(path if path.startswith("about:") else self.url + path)
        return page

    @staticmethod
    def picture(page, name):
        if PICTURES:
            page.wait("[...document.images].every((one) => one.complete)")
            page.picture(PICTURES / f"{name}.png")

    def calm(self, page):
        """Nothing was complained of, nothing is wider than the page."""
        self.assertEqual(page.complaints, [])
        self.assertLessEqual(page.run("document.documentElement.scrollWidth - innerWidth"), 0)

    @staticmethod
    def ways(on_desktop, more=None):
        """Of looking at a page; with pictures in all of them."""
        phone = {"width": 390, "height": 844, "phone": True}
        ways = {**on_desktop, "phone-dark": {**phone, "dark": True}}
        return {**ways, **(more or {}), "phone": phone} if PICTURES else ways

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
            "dataset": str(web.photos), "loss": "triplet", "model": "plain", "name": "trained",
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

    def test_report__that_has_no_place_is_one_error(self):
        taken = kindred.folder() / "taken"
        taken.write_text("a file", encoding="utf-8")
        failed = web.stack.run("evaluate", web.photos, "--model", "plain", "--out", taken, "--json")
        self.assertEqual(failed.status, 1, failed)
        self.assertIn("taken", failed.error["message"])

    def test_report__opens_under_its_own_policy(self):
        web.stack.ok("evaluate", web.photos, "--model", "plain", "--out", kindred.folder() / "out")
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
        address = page.run("location.href")
        for how, options in self.ways({"dark": {"dark": True}}).items():
            page = self.page("about:blank", **options)
            page.open(address)
            self.picture(page, f"report-{how}")
            self.calm(page)

    def test_lists__and_every_page_on_a_phone_and_in_the_dark(self):
        job = web.stack.ok("job", "list")["jobs"][-1]["id"]
        image = kindred.listing(web.photos)[7][0]
        pages = {"search": f"/?collection=shop&image={image}", "collections": "/collections",
                 "models": "/models", "jobs": "/jobs", "job": f"/jobs/{job}"}
        ready = ("document.querySelector('tbody tr, #results .score, .facts') && "
                 "document.querySelector('#status').innerText !== 'Loading…'")
        for how, options in self.ways({"desktop": {}}, {"dark": {"dark": True}}).items():
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
        image = kindred.listing(web.photos)[7][0]
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
            "dataset": str(web.photos), "loss": "triplet", "epochs": 1000, "image_size": 64}}}), JSON)
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
