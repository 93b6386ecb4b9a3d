"""soak: a mixed load on the embedder with its Redis for half an hour (calls, streams, pixels, float16, cached
and broken images, calls that are cancelled or too late, two models), while its memory and descriptors are
watched. At the end it has no more of them than after five minutes, or the exit status is 1.

    make soak [SECONDS=N] [DATA=DIR]

With fewer SECONDS than half an hour it is compared with what it had after a sixth of them.
"""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from stack import Stack, photographs

BIN = pathlib.Path(sys.argv[1]).resolve()
SECONDS = int(sys.argv[2])
SETTLED = 300 if SECONDS >= 1800 else SECONDS / 6
WINDOW = SETTLED / 2  # seconds whose samples make one figure
SAMPLE = min(5, max(0.5, SECONDS / 120))
PHOTOGRAPHS = 500
RSS_GOAL = 1 / 1.05


def sample(pid):
    """Resident MiB and descriptors of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        rss = int(re.search(r"^VmRSS:\s+(\d+)", file.read(), re.MULTILINE)[1])
    return rss / 1024, len(os.listdir(f"/proc/{pid}/fd"))


def watch(embedder, load, begun):
    samples = []
    while load.poll() is None:
        if embedder.poll() is not None:
            sys.exit(f"soak: the embedder ended with {embedder.returncode}")
        samples.append((time.monotonic() - begun, *sample(embedder.pid)))
        if len(samples) % 12 == 1:
            print("{:8.0f} s {:8.1f} MiB {:5} descriptors".format(*samples[-1]), flush=True)
        time.sleep(SAMPLE)
    return samples


def main():
    paths, _, kind = photographs(BIN)
    with Stack(BIN) as stack:
        listing = stack.folder / "photographs.txt"
        listing.write_text("".join(f"{path}\n" for path in paths[:PHOTOGRAPHS]), encoding="utf-8")
        data, _ = stack.models(one=96, two=64)  # small: a leak shows by the number of calls
        embedder = stack.embedder(data, f"127.0.0.1:{stack.redis()}")
        print(f"{SECONDS} s of everything, {min(len(paths), PHOTOGRAPHS)} images ({kind})", flush=True)
        begun = time.monotonic()
        load = subprocess.Popen([BIN / "bench_embedder_soak", embedder.address, "one", "two", listing,
                                 str(SECONDS)], stdout=subprocess.PIPE, text=True)
        stack.callback(load.kill)
        samples = watch(embedder, load, begun)
        if load.returncode != 0:
            sys.exit("soak: a call did not end as it must")
        for name, codes in json.loads(load.stdout.read()).items():
            print(f"{name:>10}: " + ", ".join(f"{count} {code}" for code, count in codes.items()))
        embedder.terminate()
        if embedder.wait(timeout=60) != 0:
            sys.exit(f"soak: the embedder ended with {embedder.returncode}")
    early = [one for one in samples if SETTLED - WINDOW / 2 <= one[0] <= SETTLED + WINDOW / 2]
    late = [one for one in samples if one[0] >= SECONDS - WINDOW]
    rss = [statistics.median(one[1] for one in some) for some in (early, late)]
    # The least: a call opens its model's description for a moment.
    descriptors = [min(one[2] for one in some) for some in (early, late)]
    print(f"resident: {rss[0]:.1f} MiB after {SETTLED:.0f} s, {rss[1]:.1f} at the end; descriptors: "
          f"{descriptors[0]}, {descriptors[1]}")
    print(f"ratio soak-memory {rss[0] / rss[1]:.3f} (goal {RSS_GOAL:.3f})")
    print(f"ratio soak-descriptors {descriptors[0] / descriptors[1]:.3f} (goal 1)")
    sys.exit(0 if rss[1] <= rss[0] / RSS_GOAL and descriptors[1] <= descriptors[0] else 1)


main()
