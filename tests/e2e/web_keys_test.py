"""The page and the watches of a stack that asks for keys."""

import http.client
import json
import unittest

import grpc
import kindred
import web
from browser import Browser
from client import Client, bearer

WATCH = "kindred.v1.GatewayService/WatchJob"
SHARE = 16  # watches over HTTP of one client


def setUpModule():
    web.start()


def key(name, scope="read"):
    """A new key, once the gateway knows it: it looks at the file five times a second."""
    made = web.stack.ok("key", "create", name, "--scope", scope)["key"]
    kindred.wait_until(
        lambda: web.get("/v1/status", Authorization=f"Bearer {made}").status == 200, 10)
    return made


def watch(job, with_key):
    """The answer to a watch over HTTP, its first event read where there is one."""
    connection = http.client.HTTPConnection(web.address(web.stack), timeout=30)
    connection.request("GET", f"/v1/jobs/{job}/watch",
                       headers={"Authorization": f"Bearer {with_key}"})
    answer = connection.getresponse()
    if answer.status == 200:
        assert answer.readline() == b"event: job\n"
    return connection, answer


class Watches(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.job = web.stack.ok("train", web.photos, "--loss", "triplet", "--model", "plain",
                               "--epochs", 1000, "--image-size", 64, "--detach")["id"]

    @classmethod
    def tearDownClass(cls):
        web.stack.ok("job", "cancel", cls.job)

    def test_a_revoked_key_ends_its_watches(self):
        gone, stays = key("gone"), key("stays")
        connection, over_http = watch(self.job, gone)
        kept_connection, kept = watch(self.job, stays)
        self.assertEqual((over_http.status, kept.status), (200, 200))
        client = Client(web.stack.address("gateway"), stays)
        self.addCleanup(client.channel.close)
        request, response = client.types(WATCH)
        send = client.channel.unary_stream(
            f"/{WATCH}", request_serializer=request.SerializeToString,
            response_deserializer=response.FromString)
        over_grpc = send(request(job_id=self.job), metadata=bearer(gone), timeout=60)
        self.assertEqual(next(over_grpc).job.id, self.job)

        web.stack.ok("key", "revoke", "gone")
        with self.assertRaises(grpc.RpcError) as ended:
            for _ in over_grpc:
                pass
        self.assertEqual(ended.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
        self.assertIn("revoked", ended.exception.details())
        rest = over_http.read().decode()  # it ends
        connection.close()
        last = [line.partition(": ")[2] for line in rest.splitlines()
                if line.startswith(("event: ", "data: "))][-2:]
        self.assertEqual(last[0], "error", rest)
        self.assertEqual(json.loads(last[1])["code"], "UNAUTHENTICATED")
        while b"event" not in kept.readline():  # goes on
            pass
        kept_connection.close()
        kept.close()

    def test_one_client_leaves_watches_for_others(self):
        greedy, modest = key("greedy"), key("modest")
        held = [watch(self.job, greedy) for _ in range(SHARE)]
        self.assertEqual({answer.status for _, answer in held}, {200})
        refused_connection, refused = watch(self.job, greedy)
        self.assertEqual(refused.status, 429)
        self.assertIn("one client may have no more", json.loads(refused.read())["message"])
        connection, answer = watch(self.job, modest)
        self.assertEqual(answer.status, 200)
        for one in (refused_connection, connection, refused, answer,
                    *(one for pair in held for one in pair)):
            one.close()


@unittest.skipIf(Browser.missing(), Browser.missing())
class Reports(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = Browser(kindred.folder())
        cls.addClassCleanup(cls.browser.end)
        cls.url = f"http://{web.address(web.stack)}"
        cls.key = key("reader")
        cls.report = web.stack.ok("evaluate", web.photos, "--model", "plain", "--detach")["id"]
        web.stack.wait_job(cls.report)
        cls.run_job = web.stack.ok("train", web.photos, "--loss", "cross-entropy", "--model",
                                   "plain", "--epochs", 1, "--image-size", 64, "--detach")["id"]
        web.stack.wait_job(cls.run_job)

    def page(self, path, with_key=True):
        page = self.browser.page()
        self.addCleanup(page.close)
        page.open(f"{self.url}/models")
        page.wait("document.querySelector('#error .error')")  # which asks for the key
        page.complaints.clear()
        if with_key:
            page.run(f"sessionStorage.setItem('kindred-key', {json.dumps(self.key)})")
        page.open(self.url + path)
        return page

    def shown(self, page):
        """What the frame shows, seen from within."""
        page.wait("document.querySelector('iframe')")
        self.assertEqual(page.run("document.querySelector('iframe').sandbox.length"), 0)
        return page.frame()

    def test_report__opens_from_the_list(self):
        page = self.page("/reports")
        page.wait("document.querySelector('tbody a')")
        page.click("tbody a")
        page.wait(f"location.pathname === '/reports/{self.report}'")
        frame = self.shown(page)
        frame.wait("document.querySelector('h1') && document.images.length > 12 && "
                   "[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
        strip = frame.run("getComputedStyle(document.querySelector('.strip')).display")
        self.assertEqual(strip, "grid", "its style is let in")
        self.assertEqual(frame.run("origin"), "null")
        self.assertEqual(page.complaints, [])
        self.assertLessEqual(page.run("document.documentElement.scrollWidth - innerWidth"), 0)
        self.assertIn(self.report, page.run(
            "document.querySelector('a[download]').getAttribute('download')"))
        if web.PICTURES:
            page.picture(web.PICTURES / "report-keyed.png")

    def test_curves__open_from_the_job(self):
        page = self.page(f"/jobs/{self.run_job}")
        page.wait("document.querySelector('.actions a.button')")
        page.click(".actions a.button")
        page.wait(f"location.pathname === '/runs/{self.run_job}'")
        self.shown(page).wait("document.querySelector('svg, h1')")
        self.assertEqual(page.complaints, [])

    def test_report__asks_for_the_key(self):
        page = self.page(f"/reports/{self.report}", with_key=False)
        page.wait("document.querySelector('#error .error')")
        self.assertIn("API key", page.text("#error"))
        page.click("#key-text")
        page.type(self.key)
        page.key("Enter")
        page.wait("document.querySelector('iframe')")
        absent = self.page("/reports/no-such-job")
        absent.wait("document.querySelector('#error .error')")
        self.assertIn("no-such-job", absent.text("#error"))

    def test_policy__is_strict_but_for_the_frame(self):
        view = web.get("/reports/any").headers["Content-Security-Policy"]
        page = web.get("/reports").headers["Content-Security-Policy"]
        self.assertEqual(view.replace(" 'unsafe-inline'", "").replace("frame-src blob:; ", ""), page)
        self.assertNotIn("unsafe", page)
        self.assertIn("script-src 'self';", view)


if __name__ == "__main__":
    kindred.main()
