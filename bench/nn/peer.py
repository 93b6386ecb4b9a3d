"""The same network as a Python user runs it; the lines are those of bench_nn_ours (ours.c).

    peer.py forward|train KIND WEIGHTS PIXELS SIZE BATCH float32|tf32|bfloat16 THREADS

KIND is eager, frozen (torch.jit, optimize_for_inference), compiled (torch.compile), onnxruntime or
openvino; or matmul, which is no network: a large matrix product, its rate written as images a second
of as many operations. tf32 is float32 as PyTorch comes: on a GPU its convolutions round their inputs to
10 bits. bfloat16 is the whole network in it for a forward, autocast for a training.
"""

import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import resnet18  # noqa: E402

mode, kind, weights, pixels_file = sys.argv[1:5]
size, batch, precision, threads = int(sys.argv[5]), int(sys.argv[6]), sys.argv[7], int(sys.argv[8])
half = precision == "bfloat16"
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_num_threads(threads)
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.allow_tf32 = precision == "tf32"
FLOATING_POINT_OPERATIONS = 3.63e9 * (size / 224) ** 2  # of an image

array = np.fromfile(pixels_file, "f4", batch * size * size * 3).reshape(batch, size, size, 3)
pixels = torch.from_numpy(array)
net = resnet18.load(weights).to(device, memory_format=torch.channels_last)  # eval: frozen norms, always


class Embed(torch.nn.Module):
    """From the pixels as the caller has them, channels last, to embeddings of length 1."""

    def __init__(self):
        super().__init__()
        self.net = net.bfloat16() if half else net

    def forward(self, x):
        x = x.permute(0, 3, 1, 2)
        return F.normalize(self.net(x.bfloat16() if half else x).float())


def torch_step(run):
    def step():
        with torch.inference_mode():
            return run(pixels.to(device, non_blocking=True)).cpu().numpy()
    return step


def onnxruntime_step():
    import onnxruntime
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.onnx")
        torch.onnx.export(Embed().eval(), (pixels,), path, input_names=["x"], dynamo=True, verbose=False,
                          external_data=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": array})[0], f"ONNX Runtime {onnxruntime.__version__}"


def openvino_step():
    global half
    import openvino
    hint, half = ("bf16" if half else "f32"), False
    model = openvino.convert_model(Embed(), example_input=pixels, input=[list(pixels.shape)])
    compiled = openvino.Core().compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    return lambda: request.infer([array], share_inputs=True)[0], f"OpenVINO {openvino.__version__}"


def matmul_step():
    n = 2048
    a, b, out = (torch.randn(n, n).to(torch.bfloat16 if half else torch.float32) for _ in range(3))
    times = max(1, round(batch * FLOATING_POINT_OPERATIONS / (2 * n ** 3)))
    global counted
    counted = times * 2 * n ** 3 / FLOATING_POINT_OPERATIONS

    def step():
        for _ in range(times):
            torch.mm(a, b, out=out)
    return step


def forward_step():
    if kind == "onnxruntime":
        return onnxruntime_step()
    if kind == "openvino":
        return openvino_step()
    if kind == "matmul":
        return matmul_step(), f"PyTorch {torch.__version__}"
    run = Embed().eval()
    if kind == "compiled":
        from torch._inductor import config  # which 1.13 has not
        config.freezing = True  # folds batch norm and lays weights out beforehand
        run = torch.compile(run)
    if kind == "frozen":
        with torch.inference_mode():
            run = torch.jit.optimize_for_inference(torch.jit.trace(run, pixels))
    return torch_step(run), f"PyTorch {torch.__version__}, {device}, {kind}"


def loss_of(embeddings):
    """Batch-hard triplets with the soft margin."""
    labels = (torch.arange(batch) // 4).to(device)
    z = F.normalize(embeddings.float())
    distance = (2 - 2 * z @ z.T).clamp_min(1e-12).sqrt()
    same = labels[:, None] == labels[None, :]
    farthest = distance.masked_fill(~same, -1).max(1).values
    nearest = distance.masked_fill(same, 9).min(1).values
    return F.softplus(farthest - nearest).mean()


def train_step():
    fused = {"fused": True} if device == "cuda" else {}  # which 1.13 does not know
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4, weight_decay=1e-4, **fused)

    def step():
        with torch.autocast(device, torch.bfloat16, enabled=half):
            out = net(pixels.to(device, non_blocking=True).permute(0, 3, 1, 2))
        loss = loss_of(out)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    return step, f"PyTorch {torch.__version__}, {device}"


counted = batch  # images of a step
step, about = forward_step() if mode == "forward" else train_step()
first = step()
embedding = first[0].tolist() if mode == "forward" and kind != "matmul" else []
print(json.dumps({"ready": about, "embedding": embedding}), flush=True)
for line in sys.stdin:
    warm, steps = map(int, line.split())
    for _ in range(warm):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    seconds = time.perf_counter() - start
    print(json.dumps({"images_per_second": steps * counted / seconds}), flush=True)
