"""Runs kindred as its users do: the real command, the real services, real files.

A test file is a unittest whose end is `kindred.main()`. It makes a Stack (a `kindred up --detach`
on a data folder of its own), gives it commands, and looks at what comes back:

    stack = kindred.Stack().up()
    model = stack.ok("model", "import", "--random")["id"]
    failed = stack.run("search", "no.jpg", "--collection", "shop")
    assert failed.status == 1 and "no.jpg" in failed.err

Whatever happens (a failure, Ctrl-C, the time given by ctest) main ends every stack, and shows the
logs of the services when a test failed. Tests wait for conditions, never for a while: wait_until.
"""

import atexit
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

BIN = Path(os.environ["KINDRED_BIN"]).resolve()
SOURCE = Path(__file__).resolve().parents[2]
SHARED = SOURCE.parent / "shared"
SERVICES = ("gateway", "trainer", "indexer", "embedder", "redis")
LOG_LINES = 40  # of each log, shown after a failure

_home = Path(os.environ.get("KINDRED_E2E_DIR", tempfile.gettempdir())).resolve()
_stacks = []
_folder = None


class Result:
    """What a finished command left: status, out, err; json is its output taken apart."""

    def __init__(self, args, status, out, err):
        self.args, self.status, self.out, self.err = args, status, out, err

    @property
    def json(self):
        try:
            return json.loads(self.out)
        except ValueError:
            raise AssertionError(f"no JSON: {self}") from None

    @property
    def error(self):
        """{"code", "message"} of a command that failed with --json."""
        return self.json["error"]

    def __str__(self):
        command = " ".join(map(str, self.args))
        return f"{command}: exit status {self.status}\n{self.out}{self.err}"


def wait_until(condition, timeout=30.0, what=None):
    """Returns the first true value of condition(); AssertionError once timeout seconds are over.

    An AssertionError or OSError of the condition counts as "not yet"; the last one is shown.
    """
    end = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (AssertionError, OSError) as problem:
            last = problem
        if time.monotonic() > end:
            text = what or getattr(condition, "__name__", "condition")
            raise AssertionError(f"not within {timeout} s: {text}" + (f" ({last})" if last else ""))
        time.sleep(0.02)


def folder():
    """A folder of this test file alone, removed at its end."""
    global _folder
    if _folder is None:
        _home.mkdir(parents=True, exist_ok=True)
        _folder = Path(tempfile.mkdtemp(prefix=f"{Path(sys.argv[0]).stem}-", dir=_home))
    return _folder


def run(*args, timeout=120, env=None, input=None):
    """Runs `kindred ARGS…`. An argument may be a path or a number."""
    return run_program("kindred", *args, timeout=timeout, env=env, input=input)


def run_program(name, *args, timeout=120, env=None, input=None):
    """Runs a program of the build (or one by its path)."""
    command = [str(BIN / name), *map(str, args)]
    done = subprocess.run(
        command, timeout=timeout, env={**_environment(), **(env or {})}, input=input,
        stdin=subprocess.DEVNULL if input is None else None, capture_output=True, text=True)
    return Result(command, done.returncode, done.stdout, done.stderr)


def _environment():
    """The tests' own, without what would lead a command to another stack."""
    return {key: value for key, value in os.environ.items() if key != "KINDRED_GATEWAY"}


def draw(name="drawn", products=2, views=5, size=64, seed=1, broken=0):
    """Draws products of the 12 super-classes in SOP's layout; returns their folder."""
    target = folder() / name
    done = run_program("kindred-draw", "--products", products, "--views", views, "--size", size,
                       "--seed", seed, "--break", broken, target)
    assert done.status == 0, done
    return target


def listing(dataset, split="train"):
    """Rows of Ebay_train.txt or Ebay_test.txt: (image id, class, super-class, path)."""
    with open(Path(dataset) / f"Ebay_{split}.txt", encoding="utf-8") as file:
        next(file)
        rows = [line.rstrip("\n").split(" ", 3) for line in file if line.strip()]
    return [(int(image), int(label), int(above), path) for image, label, above, path in rows]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def alive(pid):
    """True while the process runs; one that ended and waits to be reaped doesn't."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def kill(pid, number=signal.SIGKILL, timeout=30):
    """Sends the signal and returns when the process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, number)
        ended, _, _ = select.select([handle], [], [], timeout)
        assert ended, f"process {pid} has not ended after {timeout} s"
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


class Stack:
    """A stack of this test's own."""

    def __init__(self, name="data"):
        self.data = folder() / name
        self.data.mkdir(parents=True, exist_ok=True)
        self._foreground = None
        _stacks.append(self)

    # -- Starting and ending

    def up(self, *args, timeout=180, env=None):
        done = self.try_up(*args, timeout=timeout, env=env)
        assert done.status == 0, done
        return self

    def try_up(self, *args, timeout=180, env=None):
        return self.run("up", "--detach", *args, timeout=timeout, env=env)

    def down(self):
        done = self.run("down")
        assert done.status == 0, done
        return done

    def end(self):
        """Leaves no process of this data folder, whatever its state."""
        try:
            self.run("down", timeout=90)
        except (OSError, subprocess.SubprocessError) as problem:
            print(f"kindred down: {problem}", file=sys.stderr)
        for pid in self.processes():
            kill(pid)

    # -- Commands

    def run(self, *args, timeout=120, env=None, input=None):
        """`kindred ARGS…` on this stack."""
        where = [] if "--gateway" in args or "--data" in args else ["--data", self.data]
        return run(*args, *where, timeout=timeout, env=env, input=input)

    def ok(self, *args, timeout=120, env=None):
        """The same with --json; it must go well, and the value it printed is returned."""
        done = self.run(*args, "--json", timeout=timeout, env=env)
        assert done.status == 0, done
        return done.json

    def doctor(self, status, *args):
        """`kindred doctor` must end so: {name: (state, detail, advice)}."""
        done = self.run("doctor", *args, "--json")
        assert done.status == status, done
        checks = {one["name"]: (one["state"], one["detail"], one["advice"]) for one in done.json}
        assert len(checks) == len(done.json), f"names are unique: {done}"
        for name, (state, _, advice) in checks.items():
            assert bool(advice) == (state in ("warn", "fail")), f"{name}: {done}"
        return checks

    def start(self, *args):
        """Starts `kindred ARGS…` on this stack beside the test; returns the subprocess.Popen."""
        return subprocess.Popen(
            [str(BIN / "kindred"), *map(str, args), "--data", str(self.data)],
            env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)

    def job(self, job_id):
        """The job as `kindred job show` gives it."""
        return self.ok("job", "show", job_id)

    def wait_job(self, job_id, state="done", timeout=120):
        """Waits until the job is in this state; fails at once when it ends in another."""
        def reached():
            shown = self.run("job", "show", job_id, "--json")
            if shown.status != 0:  # a service that a test killed is on its way back
                return None
            job = shown.json
            if job["state"] in ("done", "failed", "cancelled") and job["state"] != state:
                raise RuntimeError(f"job {job_id} is {job['state']}, not {state}: {job}")
            return job if job["state"] == state else None
        return wait_until(reached, timeout, f"job {job_id} is {state}")

    # -- Processes

    def facts(self):
        """What the supervisor wrote down about itself and its services."""
        return json.loads((self.data / "run" / "stack.json").read_text(encoding="utf-8"))

    def address(self, service):
        return self.facts()["services"][service]["address"]

    def pids(self):
        """Process of each service, and of the supervisor as "stack"."""
        facts = self.facts()
        return {"stack": facts["pid"],
                **{name: one["pid"] for name, one in facts["services"].items()}}

    def processes(self):
        """Every process that works on the data folder, by command line or working folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                ours = os.fsencode(self.data) in words or Path(
                    os.readlink(entry / "cwd")) == self.data / "redis"
            except OSError:
                continue
            if ours and alive(int(entry.name)):
                found.append(int(entry.name))
        return found

    def kill(self, service, number=signal.SIGKILL):
        """kill -9 of a service, or of the supervisor ("stack"); returns the pid that was."""
        pid = self.pids()[service]
        kill(pid, number)
        return pid

    def wait_back(self, service, old_pid, timeout=60):
        """Waits until the supervisor has the service up again under a new pid."""
        def back():
            pid = self.pids()[service]
            if pid == old_pid or not alive(pid):
                return None
            if service == "redis":
                return pid
            return pid if run("health", self.address(service)).status == 0 else None
        return wait_until(back, timeout, f"{service} is back")

    # -- What is left to read

    def log(self, service):
        """The log of a service, or of the supervisor ("stack")."""
        path = self.data / "run" / "log" / f"{service}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def metrics(self, service="gateway"):
        """The service's metrics: {"name{labels}": value}."""
        from urllib.request import urlopen
        facts = self.facts()["services"][service]
        with urlopen(f"http://{facts['http']}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        pairs = (re.fullmatch(r"(\S.*) (\S+)", line) for line in text.splitlines()
                 if line and not line.startswith("#"))
        return {pair[1]: float(pair[2]) for pair in pairs if pair}

    def show_logs(self):
        for name in ("stack", *reversed(SERVICES)):
            lines = self.log(name).splitlines()
            if lines:
                print(f"---- {self.data.name}: {name}.log", file=sys.stderr)
                print("\n".join(lines[-LOG_LINES:]), file=sys.stderr)


def _clean():
    for stack in _stacks:
        stack.end()
    _stacks.clear()
    if _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)


def _out_of_time(number, _frame):
    raise TimeoutError(f"the test was ended by {signal.Signals(number).name}")


def main():
    """Runs the file's tests, ends every stack, exits."""
    atexit.register(_clean)
    # ctest ends a test with SIGKILL, which nothing can clean up after: be done before.
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, _out_of_time)
    signal.alarm(int(os.environ.get("KINDRED_E2E_SECONDS", "0")))
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    signal.alarm(0)
    if not program.result.wasSuccessful():
        for stack in _stacks:
            stack.show_logs()
    sys.exit(0 if program.result.wasSuccessful() else 1)
