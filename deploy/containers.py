#!/usr/bin/python3
"""The compose stack does the whole job, and each of its services is killed meanwhile: `make containers`.

    deploy/containers.py [--data DIR] [--weights FILE] [TRAIN OPTION…]

Builds the images (the base image first, where it can't be pulled) and looks into them; starts a stack of
its own, a compose project beside yours, on free ports; runs tools/demo.sh against its gateway: train,
index, search, evaluate. Then jobs of each kind run while each service is killed: they must end done, and
nothing that was acknowledged may be lost. The stack and its volumes are gone afterwards, whatever came
of it; the images stay. Exit status 0 means that all of it held.
"""

import argparse
import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("KINDRED_BIN", str(ROOT / "build" / "release" / "bin"))
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import faults  # noqa: E402
import kindred  # noqa: E402

PROJECT = "kindred-check"
FILES = ("deploy/docker-compose.yml", "deploy/docker-compose.gpu.yml")
IMAGES = ("kindred", "kindred-torch")
COMPILERS = r"[/-](cc|cc1|c\+\+|gcc|g\+\+|clang|clang\+\+|tcc|cpp|as|ld|ld\.(bfd|gold|lld|mold)|lld|make|cmake|ninja)(-[0-9.]+)?$"
WORK = ROOT / "build" / "containers"


class Wrong(Exception):
    """What was looked for did not hold, or can't be done here: a sentence for the user."""


def say(text):
    print(f"\n== {text}", flush=True)


def output(*command, check=True, **options):
    done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          **options)
    if check and done.returncode != 0:
        raise Wrong(f"{shlex.join(map(str, command))}: exit status {done.returncode}\n"
                    f"{done.stdout}{done.stderr}")
    return done.stdout.strip()


def succeeds(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def compose_command():
    """The words that compose starts with, once all that is needed is there."""
    if not shutil.which("docker"):
        raise Wrong("Docker is not installed; `tools/deps.sh --containers` installs Debian's")
    if not succeeds("docker", "info"):
        raise Wrong("no Docker engine answers: start it (systemctl start docker, or dockerd as root), and see "
                    "that you may use it (`docker info` says why not)")
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and succeeds(*words, "version"):
            return words
    raise Wrong("neither `docker compose` nor `docker-compose` is there; `tools/deps.sh --containers` "
                "installs Debian's")


def base_image():
    name = os.environ.get("KINDRED_BASE", "debian:trixie-slim")
    if succeeds("docker", "image", "inspect", name) or succeeds("docker", "pull", name):
        return
    say(f"{name} can't be pulled: deploy/base-image.sh makes it")
    if subprocess.run([ROOT / "deploy" / "base-image.sh", name]).returncode != 0:
        raise Wrong(f"the base image {name} can neither be pulled nor be made")


def check_image(name):
    """Size in MB; no compiler, linker or build tool in it."""
    found = output("docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", name, "-c",
                   f"find / -xdev -type f,l -perm -u+x 2>/dev/null | grep -E '{COMPILERS}' || true")
    if found:
        raise Wrong(f"image {name} has a compiler or build tool in it:\n{found}")
    return int(output("docker", "image", "inspect", "--format", "{{.Size}}", name)) / 1e6


def megabytes(text):
    """Of docker's "21.5MiB / 23.4GiB"."""
    number = text.split(" ")[0]
    for unit, factor in (("GiB", 1024), ("MiB", 1), ("KiB", 1 / 1024), ("B", 1 / 1048576)):
        if number.endswith(unit):
            return float(number[:-len(unit)]) * factor
    raise Wrong(f"docker stats says {text!r}")


class Containers(kindred.Stack):
    """The compose project as a stack to give commands to."""

    def __init__(self, compose, data, weights):
        self.compose_words = compose
        self.gateway = f"127.0.0.1:{kindred.free_port()}"
        # DATA and WEIGHTS may lie anywhere: what they are mounted on lies in a folder of ours.
        WORK.mkdir(parents=True, exist_ok=True)
        datasets = WORK / "datasets"
        shutil.rmtree(datasets, ignore_errors=True)
        (datasets / "products").mkdir(parents=True)
        mounts = [f"{data}:/datasets/products:ro"]
        if weights:
            (datasets / weights.name).touch()
            mounts.append(f"{weights}:/datasets/{weights.name}:ro")
        override = WORK / "mounts.json"
        override.write_text(json.dumps(
            {"services": {name: {"volumes": mounts} for name in ("trainer", "gateway")}}))
        self.env = {**os.environ, "KINDRED_DATASETS": str(datasets), "KINDRED_BIND": "127.0.0.1",
                    "KINDRED_GRPC_PORT": self.gateway.rpartition(":")[2],
                    "KINDRED_HTTP_PORT": str(kindred.free_port())}
        self.files = ["-f", str(ROOT / FILES[0]), "-f", str(override)]

    # -- Compose

    def compose(self, *args, check=True, **options):
        return output(*self.compose_words, "-p", PROJECT, *self.files, *args, check=check,
                      env=self.env, cwd=ROOT, **options)

    def check_files(self):
        """compose takes our files, that of the GPU too."""
        self.compose("config")
        output(*self.compose_words, *(word for name in FILES for word in ("-f", name)), "config",
               env=self.env, cwd=ROOT)

    def build(self):
        command = [*self.compose_words, "-p", PROJECT, *self.files, "build"]
        log = WORK / "build.log"
        with open(log, "w") as out:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                  env=self.env, cwd=ROOT)
        if done.returncode != 0:
            raise Wrong("the images can't be built:\n" + "".join(log.open().readlines()[-30:]))

    def up(self):
        self.compose("up", "--detach", "--no-build")
        kindred.wait_until(lambda: kindred.run("health", self.gateway).status == 0, 180,
                           "the gateway is healthy")

    def down(self):
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "30", check=False)

    def show_logs(self):
        print(self.compose("logs", "--no-color", "--tail", "40", check=False), file=sys.stderr)

    @functools.cache
    def id(self, service):
        """Of the service's container, which it keeps when it is started again."""
        return output("docker", "ps", "--all", "--quiet", "--no-trunc",
                      "--filter", f"label=com.docker.compose.project={PROJECT}",
                      "--filter", f"label=com.docker.compose.service={service}")

    def inside(self, service, *command):
        return output("docker", "exec", self.id(service), *command)

    def shell(self, service, script):
        return self.inside(service, "sh", "-c", script)

    # -- What kindred.Stack does by processes of this machine

    def run(self, *args, timeout=600, env=None, input=None):
        return kindred.run(*args, "--gateway", self.gateway, timeout=timeout, env=env, input=input)

    def container(self, service, form):
        return output("docker", "inspect", "--format", form, self.id(service))

    def kill(self, service):
        """kill -9 of the service, as the kernel would; returns what wait_back wants.

        Not `docker kill`, which some versions take for a stop by hand that restart: respects.
        """
        before = self.container(service, "{{.RestartCount}}")
        output("docker", "exec", self.id(service), "sh", "-c",
               "kill -9 $(cat /proc/1/task/1/children)", check=False)  # the shell may go with it
        return before

    def wait_back(self, service, before, timeout=90):
        """Until the engine has started it again and its own health check is content."""
        check = json.loads(self.container(service, "{{json .Config.Healthcheck.Test}}"))[1:]

        def back():
            if self.container(service, "{{.RestartCount}} {{.State.Running}}") == f"{before} true":
                return False
            try:
                self.inside(service, *check)
            except Wrong:
                return False
            return True
        kindred.wait_until(back, timeout, f"{service} is back")

    # -- Looks into the containers

    def check_containers(self):
        for service in kindred.SERVICES:
            if self.container(service, "{{.HostConfig.ReadonlyRootfs}}") != "true":
                raise Wrong(f"{service}: the root file system is not read-only")
            wrote = self.shell(service, "for d in / /usr /usr/local/bin /etc /var; do "
                               "touch $d/x 2>/dev/null && echo $d; done; true")
            if wrote:
                raise Wrong(f"{service}: can write to {wrote}")
            status = dict(line.split(":\t", 1) for line in self.shell(
                service, "cat /proc/1/status").splitlines() if ":\t" in line)
            if status["Uid"].split()[0] != "1000" or int(status["CapBnd"], 16) != 0 or (
                    status["NoNewPrivs"] != "1"):
                raise Wrong(f"{service}: runs with more rights than it needs: {status}")

    def show_memory(self, when):
        say(f"Memory, {when}")
        print("SERVICE    RESIDENT   CGROUP")
        for service in sorted(kindred.SERVICES):
            resident = int(self.shell(service, "sed -n 's/^VmRSS:[^0-9]*//p' "
                                      "/proc/$(cat /proc/1/task/1/children | tr -d ' ')/status").split()[0])
            group = output("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}",
                           self.id(service))
            print(f"{service:9}  {resident / 1024:4.0f} MiB  {megabytes(group):3.0f} MiB", flush=True)


class Kills:
    """Each service is killed during a job of each kind."""

    DATASET = "/datasets/products"

    def __init__(self, stack, data):
        self.stack = stack
        self.listed = [row[0] for row in kindred.listing(data)]
        # A job is to last some seconds, not minutes.
        self.image_size, self.epochs = (224, 3) if len(self.listed) < 2000 else (96, 1)
        self.models = 0
        self.acknowledged = []

    def fresh_model(self):
        """Of new weights, so that no embedding is in the cache yet."""
        self.models += 1
        name = f"fresh-{self.models}"
        self.stack.ok("model", "init", "--name", name, "--seed", self.models,
                      "--image-size", self.image_size)
        return name

    def submit(self, kind):
        model = self.fresh_model()
        words = {
            "train": ["train", self.DATASET, "--loss", "triplet", "--model", model, "--name",
                      f"trained-from-{model}", "--validation", "images", "--image-size", 64,
                      "--epochs", self.epochs],
            "index": ["index", self.DATASET, "--model", model, "--collection", f"of-{model}"],
            "evaluate": ["evaluate", self.DATASET, "--model", model],
        }[kind]
        job = self.stack.ok(*words, "--detach")["id"]
        self.acknowledged.append(job)
        return job, model

    def under_way(self, job):
        """The job, once it is at work or has ended. A training has had time for a checkpoint."""
        shown = self.stack.job(job)
        if shown["state"] in ("failed", "cancelled"):
            raise Wrong(f"job {job} is {shown['state']}: {shown}")
        progress = shown.get("progress", {"done": 0, "total": 0})
        share = 0.6 if shown["kind"] == "train" else 0
        at_work = int(progress["total"]) and int(progress["done"]) >= share * int(progress["total"])
        return shown if at_work or shown["state"] == "done" else None

    def kill_during(self, kind, service):
        for _ in range(5):
            job, model = self.submit(kind)
            shown = kindred.wait_until(lambda: self.under_way(job), 600, f"the {kind} job runs")
            if shown["state"] == "done":
                continue
            begun = time.monotonic()
            before = self.stack.kill(service)
            killed = time.time() * 1000
            self.stack.wait_back(service, before)
            back = time.monotonic() - begun
            ended = self.stack.wait_job(job, timeout=900)
            if int(ended["finished_unix_ms"]) < killed:
                continue  # it was faster than the kill
            getattr(self, f"check_{kind}")(ended, model)
            print(f"{kind:8}  {service:8}  back after {back:4.1f} s  done, attempt {ended['attempt']}",
                  flush=True)
            return
        raise Wrong(f"{kind} jobs end before {service} can be killed: take more pictures")

    def check_train(self, job, model):
        shown = self.stack.ok("model", "show", f"trained-from-{model}")
        if (shown["id"], shown["source"]) != (job["result"]["model_id"], job["id"]):
            raise Wrong(f"the model of job {job['id']} is {shown}")

    def check_index(self, job, model):
        found = [int(item["image_id"]) for item in
                 self.stack.ok("collection", "items", f"of-{model}")["items"]]
        left_out = int(job["result"]["skipped"])
        if not (set(found) <= set(self.listed) and len(found) == int(job["result"]["images"]) and
                len(set(found)) == len(found) == len(self.listed) - left_out):
            raise Wrong(f"job {job['id']} was to index {len(self.listed)} images but {left_out} broken ones, "
                        f"there are {len(found)}")

    def check_evaluate(self, job, model):
        """The numbers are those of an evaluation that nothing disturbed."""
        again = self.stack.ok("evaluate", self.DATASET, "--model", model)
        self.acknowledged.append(again["id"])
        for name in ("metrics", "gallery", "protocol", "data_hash"):
            if job["result"][name] != again["result"][name]:
                raise Wrong(f"job {job['id']}: {name} is {job['result'][name]}, undisturbed "
                            f"{again['result'][name]}")

    def check_jobs(self):
        listed = {one["id"]: one["state"] for one in
                  self.stack.ok("job", "list", "--limit", 1000)["jobs"]}
        for job in self.acknowledged:
            if listed.get(job) != "done":
                raise Wrong(f"job {job} was acknowledged and is {listed.get(job, 'not there')}")


def whole_job(args, stack):
    started = time.monotonic()
    stack.build()
    print(f"built in {time.monotonic() - started:.0f} s")
    for name in IMAGES:
        print(f"image {name:13} {check_image(name):4.0f} MB, no compiler in it")

    say("Starting the stack")
    started = time.monotonic()
    stack.up()
    print(f"up after {time.monotonic() - started:.0f} s")
    stack.check_containers()
    print("root file systems are read-only, user 1000, no capabilities")
    stack.show_memory("idle, nothing loaded")

    say("tools/demo.sh against the gateway")
    demo = [ROOT / "tools" / "demo.sh", os.path.relpath(kindred.BIN, ROOT), args.data, args.weights or "",
            *args.train_options]
    if subprocess.run(demo, env={**os.environ, "KINDRED_GATEWAY": stack.gateway}, cwd=ROOT).returncode != 0:
        raise Wrong("the main job failed")
    stack.show_memory("after it, idle again")

    say("Each service is killed during a job of each kind")
    kills = Kills(stack, args.data)
    adder = faults.Adder(stack.gateway, stack.ok("model", "show", "plain"))
    try:
        for kind in ("train", "index", "evaluate"):
            for service in kindred.SERVICES:
                kills.kill_during(kind, service)
    finally:
        adder.stop()
    kills.check_jobs()
    adder.check([int(item["image_id"]) for item in
                 stack.ok("collection", "items", adder.COLLECTION)["items"]])
    print(f"beside them {len(adder.acknowledged)} single vectors were acknowledged, and all are there; "
          f"{adder.refused} were refused")


def parse():
    parser = argparse.ArgumentParser(usage=__doc__.splitlines()[2].strip())
    parser.add_argument("--data", default="")
    parser.add_argument("--weights", default="")
    args, args.train_options = parser.parse_known_args()
    return args


def main():
    args = parse()
    stack = None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("containers: ended by SIGTERM"))
    try:
        compose = compose_command()
        if not args.data:
            args.data = ROOT / "build" / "demo" / "products"
            if not (args.data / "Ebay_train.txt").exists():
                args.data.parent.mkdir(parents=True, exist_ok=True)
                output(kindred.BIN / "kindred-draw", args.data)
        args.data = Path(args.data).resolve()
        args.weights = args.weights and Path(args.weights).resolve()
        for path in filter(None, (args.data, args.weights)):
            if not path.exists():
                raise Wrong(f"{path} is not there")
        base_image()
        say("The images")
        stack = Containers(compose, args.data, args.weights)
        stack.check_files()
        stack.down()  # what a run that was cut off has left
        whole_job(args, stack)
        say("All of it held")
        return 0
    except (Wrong, AssertionError, RuntimeError, OSError, subprocess.SubprocessError) as problem:
        if stack:
            stack.show_logs()
        print(f"containers: {problem}", file=sys.stderr)
        return 1
    finally:
        if stack:
            stack.down()


if __name__ == "__main__":
    sys.exit(main())
