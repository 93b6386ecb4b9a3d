"""The same training as a PyTorch user writes it: DataLoader, torchvision, autograd.

    peer.py DIR SIZE none|basic|full frozen|batch P K THREADS WORKERS

Takes and answers the same lines as bench_train_ours (ours.c), with the step's parts beside it.
"""

import ctypes
import json
import os
import random
import sys
import time

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image, ImageFilter
from torchvision import transforms as T

RATE, DECAY, SEED = 1e-4, 1e-4, 1


def keep_large_blocks():
    """lib/nn/runtime.cpp's, worth a third here too; the loader's processes inherit it."""
    libc = ctypes.CDLL(None)
    for setting, value in ((-3, 1 << 30), (-1, -1), (-2, 64 << 20), (-8, 1)):
        libc.mallopt(setting, value)  # mmap threshold, trim threshold, top pad, arenas


class Blur:
    """SimCLR's, as MoCo's main_moco.py has it: Pillow's filter is faster than torchvision's."""

    def __init__(self, size):
        self.scale = size / 224

    def __call__(self, image):
        sigma = random.uniform(0.1, 2.0) * self.scale
        return image.filter(ImageFilter.GaussianBlur(sigma))


def transform(size, augment):
    first, last = [], []
    if augment == "full":
        first = [T.RandomResizedCrop(size, scale=(0.2, 1.0)), T.RandomHorizontalFlip(),
                 T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
                 T.RandomGrayscale(0.2), T.RandomApply([Blur(size)], 0.5)]
        last = [T.RandomErasing(0.25, inplace=True)]
    elif augment == "basic":
        first = [T.Resize((size, size)), T.RandomHorizontalFlip(),
                 T.RandomApply([T.ColorJitter(0.2, 0.2)], 0.2)]
    else:
        first = [T.Resize((size, size))]
    return T.Compose([*first, T.ToTensor(),
                      T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), inplace=True),
                      *last])


class Photographs(torch.utils.data.Dataset):
    def __init__(self, folder, size, augment):
        self.folder, self.size = folder, size
        self.transform = transform(size, augment)
        with open(os.path.join(folder, "Ebay_train.txt"), encoding="utf-8") as lines:
            rows = [line.rstrip("\n").split(" ", 3) for line in list(lines)[1:]]
        self.paths = [row[3] for row in rows]
        self.labels = [int(row[1]) for row in rows]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, at):
        with Image.open(os.path.join(self.folder, self.paths[at])) as image:
            # JPEGs come at a fraction of their size where twice the model's input remains.
            image.draft("RGB", (2 * self.size, 2 * self.size))
            return self.transform(image.convert("RGB")), self.labels[at]


class Batches:
    """P classes × K images, without end: persistent workers never start an epoch anew."""

    def __init__(self, labels, p, k):
        self.p, self.k, self.by_label = p, k, {}
        for at, label in enumerate(labels):
            self.by_label.setdefault(label, []).append(at)
        self.classes = [label for label, images in self.by_label.items() if len(images) > 1]

    def __iter__(self):
        while True:
            deck = random.sample(self.classes, len(self.classes))
            for at in range(0, len(deck) - self.p + 1, self.p):
                yield [image for label in deck[at:at + self.p] for image in self.draw(label)]

    def draw(self, label):
        images = self.by_label[label]
        if len(images) >= self.k:
            return random.sample(images, self.k)
        return random.choices(images, k=self.k)


def batch_hard(embeddings, labels):
    """Hermans and others 2017, soft margin."""
    unit = F.normalize(embeddings)
    distances = torch.cdist(unit, unit)
    same = labels[:, None] == labels[None, :]
    own = torch.eye(len(labels), dtype=torch.bool)
    farthest = distances.masked_fill(~same | own, -1).amax(1)
    nearest = distances.masked_fill(same, float("inf")).amin(1)
    return F.softplus(farthest - nearest).mean()


class Training:
    def __init__(self, norm):
        self.model = torchvision.models.resnet18()
        self.model.fc = torch.nn.Identity()
        self.model = self.model.to(memory_format=torch.channels_last).train()
        for module in self.model.modules():
            if norm == "frozen" and isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        weights = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            [{"params": [w for w in weights if w.dim() > 1], "weight_decay": DECAY},
             {"params": [w for w in weights if w.dim() <= 1], "weight_decay": 0}], lr=RATE)

    def step(self, images, labels, parts):
        begun = time.perf_counter()
        loss = batch_hard(self.model(images), labels)
        value = loss.item()
        forward = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        backward = time.perf_counter()
        self.optimizer.step()
        parts["forward"] += forward - begun
        parts["backward"] += backward - forward
        parts["optimizer"] += time.perf_counter() - backward
        return value


def run_round(training, data, fixed, warm, steps):
    """data: the loader's iterator, or None for the fixed batch. Means, as ours.c."""
    names = ("wait", "layout", "forward", "backward", "optimizer")
    parts, count, loss = dict.fromkeys(names, 0.0), 0, 0.0
    for turn in range(warm + steps):
        if turn == warm:
            parts, count, begun = dict.fromkeys(names, 0.0), 0, time.perf_counter()
        start = time.perf_counter()
        images, labels = next(data) if data is not None else fixed
        taken = time.perf_counter()
        images = images.contiguous(memory_format=torch.channels_last)
        parts["wait"] += taken - start
        parts["layout"] += time.perf_counter() - taken
        loss = training.step(images, labels, parts)
        count += len(labels)
    took = time.perf_counter() - begun
    parts = {name: seconds / steps for name, seconds in parts.items()}
    return {"images_per_second": count / took, "wait": parts["wait"],
            "step": took / steps - parts["wait"], "loss": loss, "parts": parts}


def main():
    folder, size, augment, norm, p, k, threads, workers = sys.argv[1:]
    keep_large_blocks()
    torch.set_num_threads(int(threads))
    torch.set_num_interop_threads(1)
    torch.manual_seed(SEED)
    random.seed(SEED)
    photographs = Photographs(folder, int(size), augment)
    loader = torch.utils.data.DataLoader(
        photographs, batch_sampler=Batches(photographs.labels, int(p), int(k)),
        num_workers=int(workers), persistent_workers=True, prefetch_factor=2)
    training = Training(norm)
    data = iter(loader)
    images, labels = next(data)
    fixed = images.contiguous(memory_format=torch.channels_last), labels
    print(json.dumps({"ready": f"PyTorch {torch.__version__}, torchvision "
                      f"{torchvision.__version__}, CPU, {torch.get_num_threads()} threads",
                      "images": len(photographs)}), flush=True)
    for line in sys.stdin:
        mode, warm, steps = line.split()
        print(json.dumps(run_round(training, data if mode == "data" else None, fixed,
                                   int(warm), int(steps))), flush=True)


main()
