"""The same network as a PyTorch user runs it; the lines are those of bench_nn_ours (ours.c).

    peer.py forward|train SIZE BATCH float32|tf32|bfloat16 THREADS [compile]

tf32 is float32 as PyTorch comes: on a GPU its convolutions round their inputs to 10 bits. bfloat16 is
the whole network in it for a forward, autocast for a training.
"""

import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
import torchvision

mode, size, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
half, threads = sys.argv[4] == "bfloat16", int(sys.argv[5])
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_num_threads(threads)
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.allow_tf32 = sys.argv[4] == "tf32"
torch.manual_seed(1)

net = torchvision.models.resnet18()
net.fc = torch.nn.Identity()
net = net.to(device, memory_format=torch.channels_last).eval()  # eval: frozen norms, in training too
pixels = torch.from_numpy(np.random.default_rng(1).uniform(-2, 2, (batch, size, size, 3)).astype("f4"))
labels = (torch.arange(batch) // 4).to(device)


def images():
    """From the host's memory each time, channels last."""
    return pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)


def loss_of(embeddings):
    """Batch-hard triplets with the soft margin."""
    z = F.normalize(embeddings.float())
    distance = (2 - 2 * z @ z.T).clamp_min(1e-12).sqrt()
    same = labels[:, None] == labels[None, :]
    farthest = distance.masked_fill(~same, -1).max(1).values
    nearest = distance.masked_fill(same, 9).min(1).values
    return F.softplus(farthest - nearest).mean()


if mode == "forward":
    if half:
        net = net.bfloat16()
    run = torch.compile(net) if "compile" in sys.argv else net

    @torch.inference_mode()
    def step():
        x = images()
        return F.normalize(run(x.bfloat16() if half else x).float()).cpu().numpy()
else:
    fused = {"fused": True} if device == "cuda" else {}  # which 1.13 does not know
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4, weight_decay=1e-4, **fused)

    def step():
        with torch.autocast(device, torch.bfloat16, enabled=half):
            out = net(images())
        loss = loss_of(out)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

print(json.dumps({"ready": f"PyTorch {torch.__version__}, {device}"}), flush=True)
for line in sys.stdin:
    warm, steps = map(int, line.split())
    for _ in range(warm):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    seconds = time.perf_counter() - start
    print(json.dumps({"images_per_second": steps * batch / seconds}), flush=True)
