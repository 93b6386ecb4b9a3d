"""ResNet18 (He et al. 2016) as torchvision has it, up to and with the average pooling, under its key
names: what the peers of bench/ compute. With weights from a .safetensors file where one is given."""

import json

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False),
                                            nn.BatchNorm2d(width))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x += shortcut
        return self.relu(x)


class ResNet18(nn.Module):
    """N × 3 × S × S normalised pixels to N × 512 features of any length."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        width = 64
        for number, (out, stride) in enumerate([(64, 1), (128, 2), (256, 2), (512, 2)], 1):
            setattr(self, f"layer{number}", nn.Sequential(Block(width, out, stride), Block(out, out, 1)))
            width = out
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return torch.flatten(self.avgpool(x), 1)


def load(path=None):
    """In evaluation mode."""
    types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    net = ResNet18().eval()
    if path:
        with open(path, "rb") as file:
            data = file.read()
        start = 8 + int.from_bytes(data[:8], "little")
        state = {}
        for name, entry in json.loads(data[8:start]).items():
            if name == "__metadata__" or name.startswith("fc.") or entry["dtype"] not in types:
                continue
            begin, end = entry["data_offsets"]
            values = torch.frombuffer(bytearray(data[start + begin:start + end]),
                                      dtype=types[entry["dtype"]])
            state[name] = values.float().reshape(entry["shape"])
        missing, unexpected = net.load_state_dict(state, strict=False)
        if unexpected or any("num_batches_tracked" not in name for name in missing):
            raise ValueError(f"{path}: missing {missing}, unexpected {unexpected}")
    return net
