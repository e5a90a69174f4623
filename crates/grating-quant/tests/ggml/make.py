"""Writes the files beside it: rows, and what the `gguf` package (PyPI), whose results are those of
GGML bit for bit, makes of them. Run it in this folder."""

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as Type

random = np.random.default_rng(7)
row = random.standard_normal(512).astype(np.float32)
row[32:64] *= 1e-6
row[64:96] = 0
# Ties: multiples of half a step.
row[96:128] = np.arange(-15.5, 16.5, dtype=np.float32)
row[127] = 127
row[128:160] = np.arange(16, -16, -1, dtype=np.float32) / 2
row.tofile("row.f32")
for name, kind in (("q8_0", Type.Q8_0), ("q4_0", Type.Q4_0)):
    blocks = gguf.quants.quantize(row, kind)
    blocks.tofile(f"{name}.bin")
    gguf.quants.dequantize(blocks, kind).astype(np.float32).tofile(f"{name}.f32")

for name, kind in (("q4_1", Type.Q4_1), ("q5_0", Type.Q5_0), ("q5_1", Type.Q5_1)):
    blocks = gguf.quants.quantize(row, kind)
    blocks.tofile(f"{name}.bin")
    gguf.quants.dequantize(blocks, kind).astype(np.float32).tofile(f"{name}.f32")

# Any bytes are blocks, given scales that are numbers: so many of them, from there.
for name, kind, length, first, scales in (
    ("q4_k", Type.Q4_K, 144, 0, 2),
    ("q5_k", Type.Q5_K, 176, 0, 2),
    ("q6_k", Type.Q6_K, 210, 208, 1),
):
    blocks = random.integers(0, 256, (2, length), dtype=np.uint8)
    numbers = random.standard_normal((2, scales)).astype(np.float16)
    blocks[:, first : first + 2 * scales] = numbers.view(np.uint8)
    blocks.tofile(f"{name}.bin")
    gguf.quants.dequantize(blocks, kind).astype(np.float32).tofile(f"{name}.f32")
