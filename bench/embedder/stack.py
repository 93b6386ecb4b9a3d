"""The processes of the embedder's benchmarks, on free loopback ports, in a folder that goes with them."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from side import Side  # noqa: E402 (beside the folders of the benchmarks)
from side import environment as services_environment  # noqa: E402

GROCERY = HERE.parents[2] / "shared/datasets/grocery"
NOBODY = "127.0.0.1:1"  # as --redis: no cache
START_S, END_S = 180, 20  # seconds, also on a busy machine


def environment():
    """No other stack than ours."""
    env = services_environment()
    env.pop("KINDRED_GATEWAY", None)
    return env


def peer_environment():
    """PyTorch's threads as it has them by itself: they wait awake."""
    env = environment()
    env.pop("OMP_WAIT_POLICY")
    return env


def peer_python(*modules):
    """The python that PEER_PYTHON names, or that of bench/venv.sh; None when it lacks one of the modules."""
    named = os.environ.get("PEER_PYTHON")
    if not named:
        made = subprocess.run([HERE.parent / "venv.sh"], stdout=subprocess.PIPE, text=True, check=False)
        named = made.stdout.strip()
    if not shutil.which(named):
        return None
    tried = subprocess.run([named, "-c", f"import {', '.join(modules)}"], capture_output=True, check=False)
    return named if tried.returncode == 0 else None


def photographs(bin_folder):
    """Their paths, the folder, what they are. DATA names a folder of JPEGs; else the grocery
    photographs, else drawn products."""
    given = os.environ.get("DATA")
    if given:
        folder, kind = pathlib.Path(given), "DATA"
    elif (GROCERY / "Ebay_train.txt").exists():
        folder, kind = GROCERY, "photographs"
    else:
        folder, kind = bin_folder.parent / "bench/embedder/drawn", "drawn by kindred-draw"
        if not (folder / "Ebay_train.txt").exists():
            subprocess.run([bin_folder / "kindred-draw", "--size", "348", folder], check=True,
                           stdout=subprocess.DEVNULL)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        sys.exit(f"no JPEG below {folder}")
    return found, folder, kind


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_until(true, process, what):
    until = time.monotonic() + START_S
    while not true():
        if process.poll() is not None:
            sys.exit(f"{what} ended before it was ready")
        if time.monotonic() > until:
            sys.exit(f"{what} is not ready after {START_S} s")
        time.sleep(0.05)


def answers(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


class Stack(contextlib.ExitStack):
    """Ends what it started, last first, however the block is left."""

    def __init__(self, bin_folder):
        super().__init__()
        self.bin = bin_folder
        self.logs = 0

    def __enter__(self):
        super().__enter__()
        # As Ctrl-C, so that the processes are ended.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        return self

    def start(self, command, env=None):
        """A process in a group of its own, with its children, if any: they are ended as a whole."""
        self.logs += 1
        log = open(self.folder / f"{self.logs}.log", "w+", encoding="utf-8")
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, env=env or environment(), process_group=0)
        process.log = log
        self.callback(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.log.closed:
            return
        for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            if number == signal.SIGTERM:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=END_S)
        process.wait()
        process.log.close()

    def side(self, command):
        side = Side(command)
        self.callback(self.end_side, side)
        return side

    @staticmethod
    def end_side(side):
        side.process.kill()
        side.process.wait()
        side.process.stdin.close()
        side.process.stdout.close()

    def redis(self):
        """With the settings that `kindred up` gives it; returns its port."""
        port = free_port()
        folder = self.folder / f"redis-{port}"
        folder.mkdir()
        process = self.start(["redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", folder,
                              "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                              "--maxmemory", "512mb", "--maxmemory-policy", "volatile-lru"])
        wait_until(lambda: answers(port), process, "redis-server")
        return port

    def models(self, **sizes):
        """A data folder with a fresh model of each name and image size; seeds count from 1."""
        data = self.folder / "data"
        kindred = self.bin / "kindred"
        self.callback(subprocess.run, [kindred, "down", "--data", data], check=False,
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run([kindred, "up", "--detach", "--data", data], check=True,
                       stdout=subprocess.DEVNULL, env=environment())
        made = [json.loads(subprocess.run(
            [kindred, "model", "init", "--name", name, "--image-size", str(size), "--seed", str(seed),
             "--json", "--data", data],
            check=True, stdout=subprocess.PIPE, text=True, env=environment()).stdout)
                for seed, (name, size) in enumerate(sizes.items(), 1)]
        subprocess.run([kindred, "down", "--data", data], check=True, stdout=subprocess.DEVNULL)
        return data, made

    def embedder(self, data, redis, *options):
        """Its process, with the address it answers at."""
        ready = self.folder / f"{free_port()}.ready"
        home = self.folder / ready.stem  # services lock their data folders
        home.mkdir()
        (home / "models").symlink_to(data / "models")
        process = self.start([self.bin / "kindred-embedder", "--listen", "127.0.0.1:0", "--http",
                              "127.0.0.1:0", "--data", home, "--ready", ready, "--redis", redis,
                              *options])
        wait_until(ready.exists, process, "kindred-embedder")
        facts = json.loads(ready.read_text(encoding="utf-8"))
        process.address, process.http = facts["grpc"], facts["http"]
        return process


def metrics(process):
    """The embedder's, by name."""
    with urllib.request.urlopen(f"http://{process.http}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)
            if not name.startswith("#")}


def pause(process):
    """LitServe's workers look for requests a thousand times a second, which others' turns would pay."""
    os.killpg(process.pid, signal.SIGSTOP)


def resume(process):
    os.killpg(process.pid, signal.SIGCONT)
