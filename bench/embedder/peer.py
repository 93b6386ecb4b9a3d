"""The embedder as a Python user builds it: LitServe around PyTorch's eager ResNet18, channels last, float32,
batched. A photograph is the body of a POST, the answer its embedding as float32.

    peer.py PORT WEIGHTS WORKERS BATCH_TIMEOUT_MS [REDIS_PORT]

Each worker takes its share of the cores. With a Redis, its vectors are looked up by the SHA-256 of the
photograph before the model, all of a batch in one question.
"""

import hashlib
import io
import os
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import litserve
import numpy as np
import torch
from fastapi import Body, Response
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import resnet18  # noqa: E402 (beside the folders of the benchmarks)

SIZE, MAX_BATCH = 224, 32
TTL_S = 7 * 24 * 3600  # KD_EMBEDDER_CACHE_TTL_S
PORT, WEIGHTS, WORKERS = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
BATCH_TIMEOUT = float(sys.argv[4]) / 1000
REDIS_PORT = int(sys.argv[5]) if len(sys.argv) > 5 else None
THREADS = max(1, len(os.sched_getaffinity(0)) // WORKERS)


def decode(photograph):
    image = Image.open(io.BytesIO(photograph)).convert("RGB")
    return torch.from_numpy(np.array(image.resize((SIZE, SIZE), Image.BILINEAR)))


class Embedder(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(THREADS)
        self.net = resnet18.load(WEIGHTS).to(memory_format=torch.channels_last)
        self.mean = torch.tensor([0.485, 0.456, 0.406]) * 255
        self.scale = 1 / (torch.tensor([0.229, 0.224, 0.225]) * 255)
        self.pool = ThreadPoolExecutor(THREADS)  # Pillow decodes without the interpreter's lock
        self.redis = None
        if REDIS_PORT:
            import redis
            self.redis = redis.Redis(port=REDIS_PORT)

    def decode_request(self, request: Annotated[bytes, Body()]):
        return request

    def batch(self, inputs):
        return inputs

    def unbatch(self, output):
        return output

    def predict(self, x):
        """x: the photographs. All of the work is here, where a batch is seen whole."""
        if not self.redis:
            return self.embed(x)
        keys = ["peer:" + hashlib.sha256(one).hexdigest() for one in x]
        vectors = self.redis.mget(keys)
        fresh = [i for i, vector in enumerate(vectors) if vector is None]
        if fresh:
            with self.redis.pipeline(transaction=False) as pipeline:
                for i, vector in zip(fresh, self.embed([x[i] for i in fresh])):
                    vectors[i] = vector
                    pipeline.set(keys[i], vector, ex=TTL_S)
                pipeline.execute()
        return vectors

    @torch.inference_mode()
    def embed(self, photographs):
        pixels = torch.stack(list(self.pool.map(decode, photographs)))
        pixels = ((pixels - self.mean) * self.scale).permute(0, 3, 1, 2)  # channels last already
        rows = torch.nn.functional.normalize(self.net(pixels)).numpy()
        return [row.tobytes() for row in rows]

    def encode_response(self, output):
        return Response(output, media_type="application/octet-stream")


if __name__ == "__main__":
    server = litserve.LitServer(Embedder(max_batch_size=MAX_BATCH, batch_timeout=BATCH_TIMEOUT),
                                accelerator="cpu", workers_per_device=WORKERS, timeout=120)
    server.run(host="127.0.0.1", port=PORT, num_api_servers=1, generate_client_file=False,
               log_level="warning", access_log=False)
