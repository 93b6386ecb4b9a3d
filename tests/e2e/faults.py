"""What the tests of faults share: services of their own, a proxy that misbehaves, a small disk.

    redis = faults.Redis()
    indexer = faults.Service("indexer")
    proxy = faults.Proxy(indexer.address)
    gateway = faults.Service("gateway", "--indexer", proxy.address, "--redis", redis.address)
    proxy.freeze()      # accepts, and is silent
    ...
    proxy.thaw()

Each is ended by its end(), which a test gives to addCleanup or addClassCleanup.
"""

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import grpc
import kindred
from client import OK, Client


_processes = []


@atexit.register
def _kill_all():
    """What a test that was cut off has left."""
    for process in _processes:
        if process.poll() is None:
            process.kill()


class Service:
    """A service without a supervisor, on the data folder `data` of this test."""

    def __init__(self, name, *args, data="data", env=None):
        self.name, self.args, self.env = name, args, env or {}
        self.data = kindred.folder() / data
        self.data.mkdir(exist_ok=True)
        self.log_path = kindred.folder() / f"{data}-{name}.log"
        self._listen = "127.0.0.1:0"
        self.start()

    def start(self):
        """Starts it; again at the same address when it ran before."""
        ready = kindred.folder() / f"{self.data.name}-{self.name}.ready"
        ready.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(kindred.BIN / f"kindred-{self.name}"), "--data", str(self.data), "--listen",
                 self._listen, "--http", "127.0.0.1:0", "--ready", str(ready), *map(str, self.args)],
                stdout=log, stderr=log, env={**os.environ, "OMP_WAIT_POLICY": "passive",
                                             **self.env})
        _processes.append(self.process)

        def is_ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.log()}")
            return ready.exists() and ready.read_text(encoding="utf-8")
        facts = json.loads(kindred.wait_until(is_ready, 60, f"{self.name} is ready"))
        self.address, self.http = facts["grpc"], facts["http"]
        self._listen = self.address

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(timeout=60)

    def end(self, timeout=30):
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.name} has not ended: {self.log()}") from None
        return self.process.returncode

    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def metrics(self):
        """{"name{labels}": value}"""
        return metrics(self.http)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def metrics(http):
    with urlopen(f"http://{http}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    pairs = (re.fullmatch(r"(\S.*) (\S+)", line) for line in text.splitlines()
             if line and not line.startswith("#"))
    return {pair[1]: float(pair[2]) for pair in pairs if pair}


class Adder:
    """Puts vectors of the model into a collection of its own, one by one, while services are killed,
    and remembers which were acknowledged."""

    COLLECTION = "single"
    SERVICE = "kindred.v1.IndexerService"

    def __init__(self, address, model):
        self.acknowledged, self.refused, self._fault = [], 0, None
        self._model = model
        self._stop = threading.Event()
        client = Client(address)
        code, answer = client.call(f"{self.SERVICE}/CreateCollection", name=self.COLLECTION,
                                   model_id=model["id"], dim=model["dim"])
        assert code == OK, answer
        self._thread = threading.Thread(target=self._run, args=(client,))
        self._thread.start()

    def _run(self, client):
        try:
            vector = [1.0] + [0.0] * (self._model["dim"] - 1)
            number = 0
            while not self._stop.wait(0.02):
                number += 1
                item = {"image_id": number, "class_id": number % 7, "super_class_id": 1,
                        "super_class_name": "x"}
                code, answer = client.call(
                    f"{self.SERVICE}/Upsert", collection=self.COLLECTION, model_id=self._model["id"],
                    items=[{"item": item, "values": vector}])
                if code == OK:
                    self.acknowledged.append(number)
                elif code == grpc.StatusCode.UNAVAILABLE:
                    self.refused += 1
                else:
                    raise AssertionError(f"{code}: {answer}")
        except Exception as fault:  # shown by check
            self._fault = fault

    def stop(self):
        self._stop.set()
        self._thread.join(60)

    def check(self, found):
        """found: the image ids that are in the collection after stop()."""
        assert self._fault is None, self._fault
        assert self.acknowledged
        lost = set(self.acknowledged) - set(found)
        assert not lost, f"acknowledged and lost: {sorted(lost)}"
        assert len(found) == len(set(found)) <= len(self.acknowledged) + self.refused, found


class Redis:
    """A redis-server of the test's own, as the supervisor starts it."""

    def __init__(self, name="redis"):
        self.folder = kindred.folder() / name
        self.folder.mkdir()
        self.port = kindred.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir",
             str(self.folder), "--appendonly", "yes", "--appendfsync", "always", "--save", ""],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _processes.append(self.process)
        kindred.wait_until(lambda: self.ask("PING") == "+PONG", 30, "redis answers")

    def ask(self, *words):
        """The first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as redis:
            redis.sendall((" ".join(words) + "\r\n").encode())
            return redis.makefile("r").readline().rstrip("\r\n")

    def end(self):
        self.process.kill()
        self.process.wait(timeout=30)


class Proxy:
    """Passes TCP connections on to `target`, until it is told not to.

    freeze()       connections are taken and nothing moves on any of them
    freeze_after() … once so many more bytes have come back from the target
    trickle()      a few bytes at a time
    thaw()         all goes on, with what was held back
    """

    def __init__(self, target):
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._changed = threading.Condition()
        self._frozen, self._slow, self._left, self._closed = False, False, None, False
        self.accepted = 0
        self._sockets = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._start(self._accept)

    @staticmethod
    def _start(run, *args):
        threading.Thread(target=run, args=args, daemon=True).start()

    def _set(self, **values):
        with self._changed:
            for name, value in values.items():
                setattr(self, f"_{name}", value)
            self._changed.notify_all()

    def freeze(self):
        self._set(frozen=True)

    def freeze_after(self, n_bytes):
        self._set(left=n_bytes)

    def trickle(self):
        self._set(slow=True)

    def thaw(self):
        self._set(frozen=False, slow=False, left=None)

    @property
    def frozen(self):
        return self._frozen

    def end(self):
        self._set(closed=True, frozen=False)
        self._listener.close()
        for one in list(self._sockets):
            one.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._start(self._connect, client)

    def _connect(self, client):
        self._sockets.add(client)
        try:
            self._wait()
            server = socket.create_connection(self._target, timeout=10)
            server.settimeout(None)
            self._sockets.add(server)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # the target is away, or this proxy has ended meanwhile
            client.close()
            return
        self._start(self._pump, client, server, False)
        self._start(self._pump, server, client, True)

    def _wait(self):
        with self._changed:
            while self._frozen and not self._closed:
                self._changed.wait()

    def _pump(self, source, target, is_answer):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                self._send(target, data, is_answer)
        except OSError:
            pass
        self._wait()
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _send(self, target, data, is_answer):
        while data:
            self._wait()
            n = 16 if self._slow else len(data)
            if is_answer and self._left is not None:
                n = min(n, self._left)
                self._left -= n
            if n:
                target.sendall(data[:n])
                data = data[n:]
            if is_answer and self._left == 0:
                self._set(frozen=True, left=None)
            elif self._slow:
                time.sleep(0.05)


class SmallDisk:
    """A tmpfs of so many bytes at the folder; skips the test where mounting isn't allowed."""

    def __init__(self, test, path, size="1m"):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            test.skipTest(f"can't mount a small disk: {done.stderr.strip()}")
        test.addCleanup(self.end)

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True)

    def read_only(self, yes):
        subprocess.run(["mount", "-o", f"remount,{'ro' if yes else 'rw'}", str(self.path)], check=True)

    def fill(self, leave=0):
        """Leaves so many bytes free."""
        free = self.free()
        if free > leave:
            with open(self.path / "ballast", "ab") as file:
                file.write(b"x" * (free - leave))

    def make_room(self):
        (self.path / "ballast").unlink()

    def free(self):
        state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize

    def end(self):
        subprocess.run(["umount", "-l", str(self.path)], check=False)
