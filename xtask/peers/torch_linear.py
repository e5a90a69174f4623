"""How fast torch's linear layers are on the shapes of the program `linear_speed`, in Gop/s of the fastest call.

usage: torch_linear.py [f32|bf16|int8]..., one thread for each core unless OMP_NUM_THREADS says otherwise

ATEN_CPU_CAPABILITY=avx2, ONEDNN_MAX_CPU_ISA=AVX2 and, for int8, FBGEMM_ENABLE_INSTRUCTIONS=AVX2 hold it to AVX2.
"""

import sys
import time

import torch

SHAPES = [
    (1024, 3072), (3072, 1024), (1024, 2048), (1024, 1024), (2048, 1024), (1024, 4096), (4096, 1024),
    (384, 1536), (1536, 384),
]
ROWS = [64, 256, 1024, 4096]


def layer(kind, inputs, outputs):
    linear = torch.nn.Linear(inputs, outputs, bias=False)
    if kind == "int8":
        # Activations are quantized at each call, as ours are.
        return torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(linear), {torch.nn.Linear}, torch.qint8)
    return linear.to(torch.bfloat16) if kind == "bf16" else linear


def best(kind, rows, inputs, outputs):
    linear = layer(kind, inputs, outputs)
    x = torch.randn(rows, inputs, dtype=torch.bfloat16 if kind == "bf16" else torch.float32)
    operations = 2 * rows * inputs * outputs
    fastest = float("inf")
    for _ in range(max(3, min(101, int(2e10 / operations)))):
        start = time.perf_counter()
        linear(x)
        fastest = min(fastest, time.perf_counter() - start)
    return operations / fastest / 1e9


print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; Gop/s for rows {ROWS}")
with torch.inference_mode():
    for kind in sys.argv[1:] or ["bf16", "f32"]:
        for inputs, outputs in SHAPES:
            speeds = [f"{best(kind, rows, inputs, outputs):5.0f}" for rows in ROWS]
            print(f"{kind} {inputs:4} -> {outputs:4}: " + " ".join(speeds), flush=True)
