"""bench-rpc: unary echo through lib/rpc's server and through gRPC's C++ asynchronous server, driven
by the same client. Rounds alternate; figures are medians over them.

    make bench-rpc [FULL=1]
"""

import json
import os
import statistics
import subprocess
import sys

BIN = sys.argv[1]
FULL = os.environ.get("FULL") == "1"
ROUNDS, SECONDS = (11, 4.0) if FULL else (7, 2.0)
GOAL = 0.95
WARM_UP = 0.3  # seconds, load.c's
SHAPES = [(1, 64), (8, 64), (64, 64), (8, 4096)]  # calls in flight, bytes


class Server:
    def __init__(self, name):
        self.process = subprocess.Popen([f"{BIN}/bench_rpc_{name}"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def load(self, in_flight, payload):
        before = self.cpu_seconds()
        done = subprocess.run(
            [f"{BIN}/bench_rpc_load", self.address, str(in_flight), str(SECONDS), str(payload)],
            check=True, capture_output=True, text=True, timeout=120)
        run = json.loads(done.stdout)
        # The warm-up's calls are in it as well, at the same rate.
        run["cpu_us"] = (self.cpu_seconds() - before) * 1e6 / (
            run["per_second"] * (run["seconds"] + WARM_UP))
        return run

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def main():
    servers = {name: Server(name) for name in ("ours", "peer")}
    print(f"unary echo, {ROUNDS} rounds of {SECONDS:g} s each, medians")
    head = f"{'calls/s':>8} {'p50 µs':>7} {'p99 µs':>7} {'CPU µs':>7}"
    print(f"{'':16} | {'lib/rpc':32} | {'C++':32} |")
    print(f"{'in flight':>9} {'bytes':>6} | {head} | {head} | {'ratio':>6}")
    ratios = []
    for in_flight, payload in SHAPES:
        runs = {name: [] for name in servers}
        for turn in range(ROUNDS):
            for name in sorted(servers, reverse=turn % 2 == 1):
                runs[name].append(servers[name].load(in_flight, payload))
        middle = {name: {key: statistics.median(run[key] for run in all_of)
                         for key in ("per_second", "p50_us", "p99_us", "cpu_us")}
                  for name, all_of in runs.items()}
        # A round's two runs are neighbours in time: their ratio is what noise spares most.
        ratio = statistics.median(ours["per_second"] / peer["per_second"]
                                  for ours, peer in zip(runs["ours"], runs["peer"]))
        sides = " | ".join(
            f"{side['per_second']:8.0f} {side['p50_us']:7.0f} {side['p99_us']:7.0f} "
            f"{side['cpu_us']:7.1f}" for side in (middle["ours"], middle["peer"]))
        print(f"{in_flight:9} {payload:6} | {sides} | {ratio:6.3f}", flush=True)
        if payload == 64:
            ratios.append((in_flight, ratio))
    for server in servers.values():
        server.end()
    for in_flight, ratio in ratios:
        print(f"ratio rpc-throughput-{in_flight}-in-flight {ratio:.3f} (goal {GOAL})")


main()
