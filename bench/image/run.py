"""bench-image: from an encoded photograph to the model's input, 224 × 224, on one thread, beside
torchvision (decode_jpeg, antialiased resize) and Pillow (decode, resize, NumPy floats). Rounds
alternate; each ratio is the median of those within a round.

    make bench-image [FULL=1] [DATA=DIR]

DIR holds JPEGs; else the photographs in ../shared/datasets/grocery, else drawn products. The large
ones are some of them at 12 megapixels with a sensor's noise, in a temporary folder. The peers run in
this python3 or in the one that PEER_PYTHON names.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

BIN = pathlib.Path(sys.argv[1])
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from side import Side  # noqa: E402 (beside the folders of the benchmarks)

GROCERY = HERE.parents[2] / "shared/datasets/grocery"
FULL = os.environ.get("FULL") == "1"
PYTHON = os.environ.get("PEER_PYTHON", sys.executable)
ROUNDS = 11 if FULL else 5
LARGE = 6  # pictures of 12 megapixels
# What the peer needs, and the goal.
PEERS = {"torchvision": ("import torchvision, numpy; from torchvision.io import decode_jpeg", 2),
         "pillow": ("import PIL, numpy", 4)}
AGREE = 0.005  # of the mean of the pixels, 0..1


def photographs():
    given = os.environ.get("DATA")
    if given:
        folder, kind = pathlib.Path(given), "DATA"
    elif (GROCERY / "Ebay_train.txt").exists():
        folder, kind = GROCERY, "photographs"
        listings = [(GROCERY / name).read_text().splitlines()[1:]
                    for name in ("Ebay_train.txt", "Ebay_test.txt")]
        return [GROCERY / line.split()[3] for lines in listings for line in lines], kind
    else:
        folder, kind = BIN.parent / "bench/image/drawn", "drawn by kindred-draw"
        if not (folder / "Ebay_train.txt").exists():
            subprocess.run([BIN / "kindred-draw", "--size", "348", folder], check=True,
                           stdout=subprocess.DEVNULL)
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")), kind


def enlarged(paths, folder):
    made = [folder / f"{i}.jpg" for i in range(LARGE)]
    for i, path in enumerate(made):
        subprocess.run([BIN / "bench_image_ours", "enlarge", paths[i * len(paths) // LARGE], path],
                       check=True)
    return made


def measure(label, paths, peers, passes, folder):
    listing = folder / f"{label}.txt"
    listing.write_text("".join(f"{path}\n" for path in paths))
    sides = {"ours": Side([BIN / "bench_image_ours", "run", listing])}
    for name in peers:
        sides[name] = Side([PYTHON, HERE / "peer.py", name, listing])
    rates = {name: [] for name in sides}
    for turn in range(ROUNDS + 1):
        for name in sorted(sides, reverse=turn % 2 == 1):
            got = sides[name].ask(passes if turn else 1)
            if name == "ours":
                ours = got["mean"]
            elif turn and abs(got["mean"] - ours) > AGREE:
                sys.exit(f"bench-image: {name} makes other pixels: {got['mean']} and {ours}")
            if turn:  # the first doesn't count
                rates[name].append(got["images_per_second"])
    lines = []
    for name, side in sides.items():
        rate = statistics.median(rates[name])
        print(f"{label:>8} {name:>12} | {rate:10.1f} {1e3 / rate:10.3f} | {side.about['ready']}",
              flush=True)
        side.end()
        if name != "ours":
            ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates[name]))
            lines.append(f"ratio {label}-{name} {ratio:.3f} (goal {PEERS[name][1]})")
    return lines


def main():
    found = [name for name, (needs, _) in PEERS.items() if subprocess.run(
        [PYTHON, "-c", needs], capture_output=True, check=False).returncode == 0]
    paths, kind = photographs()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        large = enlarged(paths, folder)
        print(f"{len(paths)} images ({kind}), {sum(p.stat().st_size for p in paths) // len(paths):,} "
              f"bytes each; {LARGE} of 12 megapixels, {sum(p.stat().st_size for p in large) // LARGE:,} "
              f"bytes each; one thread, medians of {ROUNDS} rounds")
        print(f"{'':>8} {'':>12} | {'images/s':>10} {'ms/image':>10}")
        lines = measure("grocery" if kind == "photographs" else "small", paths, found, 1, folder)
        lines += measure("12mp", large, found, 3, folder)
    missing = [name for name in PEERS if name not in found]
    if missing:
        print(f"not there: {', '.join(missing)} (tools/deps.sh --bench)")
    print("\n".join(lines))


main()
