"""A stack with something to look at, and its gateway over HTTP."""

import http.client
import json
import os
from pathlib import Path

import kindred

# Pictures of the page are left there, where it is set.
PICTURES = os.environ.get("KINDRED_E2E_PICTURES") and Path(os.environ["KINDRED_E2E_PICTURES"])
JSON = {"Content-Type": "application/json"}
stack = None
photos = None


def start(name="data"):
    """720 pictures would be the demo's; these are 120 of 24 products, and an untrained model."""
    global stack, photos
    photos = kindred.draw("photos", products=2, views=5, size=96)
    stack = kindred.Stack(name).up()
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
