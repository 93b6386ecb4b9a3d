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
SHAPES = [(1, 64), (8, 64), (64, 64), (8, 4096)]  # calls in flight, bytes


class Server:
    def __init__(self, name):
        self.process = subprocess.Popen([f"{BIN}/bench_rpc_{name}"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def load(self, in_flight, payload):
        done = subprocess.run(
            [f"{BIN}/bench_rpc_load", self.address, str(in_flight), str(SECONDS), str(payload)],
            check=True, capture_output=True, text=True, timeout=120)
        return json.loads(done.stdout)

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def main():
    servers = {name: Server(name) for name in ("ours", "peer")}
    print(f"unary echo, {ROUNDS} rounds of {SECONDS:g} s each, medians")
    print(f"{'in flight':>9} {'bytes':>6} | {'calls/s':>9} {'p50 µs':>8} {'p99 µs':>8} | "
          f"{'C++ calls/s':>11} {'p50 µs':>8} {'p99 µs':>8} | {'ratio':>6}")
    ratios = []
    for in_flight, payload in SHAPES:
        runs = {name: [] for name in servers}
        for turn in range(ROUNDS):
            for name in sorted(servers, reverse=turn % 2 == 1):
                runs[name].append(servers[name].load(in_flight, payload))
        middle = {name: {key: statistics.median(run[key] for run in all_of)
                         for key in ("per_second", "p50_us", "p99_us")}
                  for name, all_of in runs.items()}
        # A round's two runs are neighbours in time: their ratio is what noise spares most.
        ratio = statistics.median(ours["per_second"] / peer["per_second"]
                                  for ours, peer in zip(runs["ours"], runs["peer"]))
        ours, peer = middle["ours"], middle["peer"]
        print(f"{in_flight:9} {payload:6} | {ours['per_second']:9.0f} {ours['p50_us']:8.0f} "
              f"{ours['p99_us']:8.0f} | {peer['per_second']:11.0f} {peer['p50_us']:8.0f} "
              f"{peer['p99_us']:8.0f} | {ratio:6.3f}", flush=True)
        if payload == 64:
            ratios.append((in_flight, ratio))
    for server in servers.values():
        server.end()
    for in_flight, ratio in ratios:
        print(f"ratio rpc-throughput-{in_flight}-in-flight {ratio:.3f} (goal {GOAL})")


main()
