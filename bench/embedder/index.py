"""bench-index: `kindred index` of a folder of photographs on a stack that `kindred up` has just started,
beside a Python script that does the same (index_peer.py): a command's time from its start to its end, with
what each loads. Rounds alternate; each has a data folder of its own, so that no vector is cached.

    make bench-index [FULL=1] [DATA=DIR]

DIR is in the layout of Stanford Online Products; else the photographs in ../shared/datasets/grocery, else
drawn products. The peer is in the python that PEER_PYTHON names, or in that of bench/venv.sh.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

from stack import Stack, environment, peer_environment, peer_python, photographs, wait_until

BIN = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 5 if os.environ.get("FULL") == "1" else 3
TRY_IMAGES = 320  # to choose the peer's workers by
GOAL = 1.5


def timed(command, env=None):
    """Seconds that it takes, and what it prints."""
    begun = time.monotonic()
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True, text=True,
                          env=env or environment())
    return time.monotonic() - begun, done.stdout


def ours(stack, folder):
    """Images a second; images. Not detached, so that its processes are scheduled as the peer's are."""
    data = stack.folder / "cold"

    def kindred(*words):
        return [BIN / "kindred", *words, "--data", data]

    up = stack.start(kindred("up", "--datasets", folder))
    wait_until((data / "run/stack.json").exists, up, "kindred up")
    timed(kindred("model", "init", "--name", "plain", "--seed", "1"))
    seconds, _ = timed(kindred("index", folder, "--model", "plain", "--collection", "shop", "--split",
                               "all", "--json"))
    shop = json.loads(timed(kindred("collection", "show", "shop", "--json"))[1])
    timed(kindred("down"))
    stack.end(up)
    shutil.rmtree(data)
    return shop["count"] / seconds, shop["count"]


def main():
    paths, folder, kind = photographs(BIN)
    if not (folder / "Ebay_train.txt").exists():
        sys.exit(f"bench-index: no Ebay_train.txt in {folder}")
    for path in paths:  # from the disk once, before any time counts
        path.read_bytes()
    python = peer_python("faiss", "numpy", "PIL", "torch")
    with Stack(BIN) as stack:
        data, (model,) = stack.models(plain=224)
        weights = data / "models" / model["id"] / "model.safetensors"

        def peer(workers, *limit):
            seconds, count = timed([python, HERE / "index_peer.py", folder, weights, workers,
                                    stack.folder / "index.faiss", *limit], peer_environment())
            return int(count) / seconds, int(count)

        rates, counts = {"ours": []}, set()
        if python:
            workers = max((0, 1, 2), key=lambda some: peer(some, TRY_IMAGES)[0])
            rates["peer"] = []
        for turn in range(ROUNDS):
            for side in sorted(rates, reverse=turn % 2 == 1):
                rate, n = ours(stack, folder) if side == "ours" else peer(workers)
                counts.add(n)
                rates[side].append(rate)
                print(f"{side:>6} {rate:8.1f} images/s", flush=True)
    if len(counts) != 1:
        sys.exit(f"bench-index: not as many images on both sides: {counts}")
    print(f"{n} images in {folder} ({kind}), medians of {ROUNDS} rounds: " + ", ".join(
        f"{side} {statistics.median(some):.1f} images/s" for side, some in rates.items()))
    if python:
        ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["peer"]))
        print(f"the peer's DataLoader has {workers} workers")
        print(f"ratio index-to-python {ratio:.3f} (goal {GOAL})")
    else:
        print("the peer is not there: bench/venv.sh, and faiss-cpu")


main()
