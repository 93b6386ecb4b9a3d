"""A catalogue indexed as a Python user does it: a DataLoader over Pillow, PyTorch's eager ResNet18, channels
last, in batches, an exact FAISS index of the vectors, written to a file.

    index_peer.py DIR WEIGHTS WORKERS OUT [LIMIT]

DIR is in the layout of Stanford Online Products; all of its images, or LIMIT. Prints how many.
"""

import pathlib
import sys

import faiss
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import resnet18  # noqa: E402 (beside the folders of the benchmarks)

SIZE, BATCH, DIM = 224, 32, 512
folder, weights, workers, out = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
MEAN = torch.tensor([0.485, 0.456, 0.406]) * 255
SCALE = 1 / (torch.tensor([0.229, 0.224, 0.225]) * 255)


class Photographs(torch.utils.data.Dataset):
    def __init__(self):
        lines = [line for name in ("Ebay_train.txt", "Ebay_test.txt")
                 for line in (folder / name).read_text(encoding="utf-8").splitlines()[1:]]
        self.paths = [folder / line.split()[3] for line in lines][:int(sys.argv[5]) if sys.argv[5:] else None]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = Image.open(self.paths[i]).convert("RGB").resize((SIZE, SIZE), Image.BILINEAR)
        return torch.from_numpy(np.array(image))


@torch.inference_mode()
def main():
    net = resnet18.load(weights).to(memory_format=torch.channels_last)
    index = faiss.IndexFlatIP(DIM)
    for pixels in torch.utils.data.DataLoader(Photographs(), BATCH, num_workers=workers):
        pixels = ((pixels - MEAN) * SCALE).permute(0, 3, 1, 2)  # channels last already
        index.add(torch.nn.functional.normalize(net(pixels)).numpy())
    faiss.write_index(index, out)
    print(index.ntotal)


main()
