#!/usr/bin/python3
"""Writes tests/nn/golden.h: what PyTorch and torchvision compute for weights and pixels that a
formula gives (tests/nn/nn_support.c has the same one), so that no large file is kept.

    apt-get install python3-torch python3-torchvision
    /usr/bin/python3 tools/golden/nn.py resnet18-imagenet.safetensors > tests/nn/golden.h
    clang-format-19 -i tests/nn/golden.h

The argument is the file of real weights that tests/nn/weights_test.c uses where it is there.
"""
import json
import math
import sys

import numpy as np
import torch
import torchvision

SIZE = 64
LABELS = [0, 0, 1, 1, 2, 2, 3, 3]
# A small rate: at 1e-3 two of PyTorch's own convolutions end 2 % apart after three steps.
RATE, DECAY, STEPS = 2e-5, 5.0, 3
PIXEL_STREAM = 1000  # pixels use the hash's streams from here on


def noise(stream, count):
    """count numbers in -1..1 from a 32-bit integer hash: the same in every language."""
    mask = np.uint64(0xFFFFFFFF)
    x = (np.arange(count, dtype=np.uint64) + np.uint64(stream * 0x9E3779B9 & 0xFFFFFFFF)) & mask
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & mask
    x ^= x >> np.uint64(16)
    return x.astype(np.float64) / 2147483648.0 - 1.0


def fill(model):
    names = sorted(n for n in model.state_dict() if not n.endswith("num_batches_tracked"))
    state = model.state_dict()
    for stream, name in enumerate(names):
        shape = state[name].shape
        u = noise(stream, state[name].numel())
        if len(shape) == 4:
            u = u * math.sqrt(6.0 / (shape[0] * shape[2] * shape[3]))
        elif name.endswith("running_var"):
            u = 1.0 + 0.4 * u
        elif name.endswith("weight"):
            u = 1.0 + 0.2 * u
        else:
            u = 0.1 * u
        state[name].copy_(torch.from_numpy(u.astype(np.float32)).reshape(shape))


def make_model():
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        fill(model)
    return model


def pixels(n, first=0, size=SIZE):
    """The images first, first + 1 … : noise."""
    images = [noise(PIXEL_STREAM + first + i, size * size * 3) for i in range(n)]
    array = np.stack(images).astype(np.float32).reshape(n, size, size, 3)
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def real_model(path):
    """torchvision's network with the weights of a .safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    types = {"F16": np.float16, "F32": np.float32, "I64": np.int64}
    state = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            array = np.frombuffer(data[begin:end], types[entry["dtype"]]).reshape(entry["shape"])
            state[name] = torch.from_numpy(array.copy())
    model = torchvision.models.resnet18()
    model.load_state_dict(state)
    model.fc = torch.nn.Identity()
    return model.float()


def print_embeddings(name, model, images):
    with torch.no_grad():
        embeddings = torch.nn.functional.normalize(model.eval()(images))
    print(f"static const float {name}[2][32] = {{")
    for row in embeddings[:, ::16].tolist():
        print("    {" + ", ".join(number(v) for v in row) + "},")
    print("};")


def triplet(embeddings, labels, margin):
    unit = torch.nn.functional.normalize(embeddings)
    distance = (unit[:, None] - unit[None, :]).pow(2).sum(-1).add(1e-30).sqrt()
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool)
    farthest = distance.masked_fill(~(same & ~itself), -1).max(1)[0]
    nearest = distance.masked_fill(same, 3).min(1)[0]
    gap = farthest - nearest
    losses = torch.relu(gap + margin) if margin > 0 else torch.nn.functional.softplus(gap)
    return losses.mean()


def train(margin):
    model = make_model().train()
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in parameters.values() if p.dim() > 1], "weight_decay": DECAY},
         {"params": [p for p in parameters.values() if p.dim() == 1], "weight_decay": 0.0}],
        lr=RATE)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rows, gradients = [], {}
    for step in range(STEPS):
        loss = triplet(
            model(pixels(len(LABELS), step * len(LABELS))), torch.tensor(LABELS), margin)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            gradients = {name: p.grad.clone() for name, p in parameters.items()}
        optimizer.step()
        rows.append(loss.item())
    return rows, gradients, start, model.state_dict()


def optimise(make, clip):
    """A projection that begins as the identity, after three steps on noise: its first diagonal
    values, some beside them, and the bias's first."""
    linear = torch.nn.Linear(512, 512)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(512))
        linear.bias.zero_()
    optimizer = make([{"params": [linear.weight], "weight_decay": 0.1},
                      {"params": [linear.bias], "weight_decay": 0.0}])
    for step in range(STEPS):
        features = np.stack([noise(2000 + 8 * step + i, 512) for i in range(8)])
        loss = triplet(linear(torch.from_numpy(features.astype(np.float32))),
                       torch.tensor(LABELS), 0.0)
        optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(linear.parameters(), clip)
        optimizer.step()
    weight, bias = linear.weight.detach(), linear.bias.detach()
    return [weight[i, i + j].item() for i in range(4) for j in range(2)] + bias[:4].tolist()


def print_optimisers():
    makers = [lambda p: torch.optim.Adam(p, lr=1e-2), lambda p: torch.optim.AdamW(p, lr=1e-2),
              lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9)]
    print("/* A projection after three steps by Adam, AdamW, SGD, then the same with clipped gradients. */")
    print("static const float golden_optimiser[6][12] = {")
    for clip in (0, 0.01):
        for make in makers:
            print("    {" + ", ".join(number(v) for v in optimise(make, clip)) + "},")
    print("};")


def number(value):
    return f"{value:.9g}f" if "." in f"{value:.9g}" or "e" in f"{value:.9g}" else f"{value:.9g}.0f"


def print_values(name, values):
    print(f"static const struct golden_value {name}[] = {{")
    for tensor, element, value in values:
        print(f'    {{"{tensor}", {element}, {number(value)}}},')
    print("};")


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print("/* Made by tools/golden/nn.py from PyTorch and torchvision; do not edit. */")
    print("#ifndef KD_TESTS_NN_GOLDEN_H\n#define KD_TESTS_NN_GOLDEN_H\n\n#include <stddef.h>\n")
    print("struct golden_value {\n    const char *tensor;\n    size_t element;\n    float value;\n};")
    print("/* Every 16th number of the embeddings of two images. */")
    print_embeddings("golden_embedding", make_model(), pixels(2))
    print("/* The same of two images of 224 × 224 with the real weights. */")
    print_embeddings("golden_real_embedding", real_model(sys.argv[1]), pixels(2, 0, 224))
    print("/* Loss of each step: with the margin 0.2, with the soft margin. */")
    runs = [train(0.2), train(0.0)]
    print(f"static const float golden_step[2][{STEPS}] = {{")
    for rows, *_ in runs:
        print("    {" + ", ".join(number(v) for v in rows) + "},")
    print("};")
    _, gradients, start, end = runs[0]
    chosen = ["conv1.weight", "bn1.weight", "bn1.bias", "layer2.0.conv2.weight",
              "layer2.0.downsample.0.weight", "layer3.1.bn1.weight", "layer4.1.conv2.weight",
              "layer4.1.bn2.bias"]
    largest = {name: int(gradients[name].abs().argmax()) for name in chosen}
    print("/* The first step's largest gradients of some tensors (margin 0.2). */")
    print_values("golden_gradient", [
        (n, i, gradients[n].flatten()[i].item()) for n, i in largest.items()])
    print("/* How far the same weights, and running statistics, have moved after all steps. */")
    moved = list(largest.items()) + [("bn1.running_mean", 3), ("layer4.0.bn1.running_var", 7)]
    print_values("golden_move", [
        (n, i, (end[n] - start[n]).flatten()[i].item()) for n, i in moved])
    print_optimisers()
    print("\n#endif")


main()
