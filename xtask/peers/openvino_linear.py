"""How fast OpenVINO's linear layers are on the shapes of the program `linear_speed`, in Gop/s of the fastest call.

usage: openvino_linear.py [f32|int8]..., one thread for each core unless OMP_NUM_THREADS says otherwise

int8 is what its quantizer NNCF makes of the layer: one scale for the inputs, which are quantized in the call, and one for each row of
weights. ONEDNN_MAX_CPU_ISA=AVX2 holds it to AVX2.
"""

import logging
import os
import sys
import time

import numpy
import openvino
from openvino import opset13

SHAPES = [
    (1024, 3072), (3072, 1024), (1024, 2048), (1024, 1024), (2048, 1024), (1024, 4096), (4096, 1024),
    (384, 1536), (1536, 384),
]
ROWS = [64, 256, 1024, 4096]
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
# Not bfloat16, where the processor has it.
SETTINGS = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


def layer(kind, inputs, outputs):
    x = opset13.parameter([-1, inputs], numpy.float32)
    weights = numpy.random.default_rng(0).standard_normal((outputs, inputs), dtype=numpy.float32)
    model = openvino.Model([opset13.matmul(x, opset13.constant(weights), False, True)], [x])
    if kind == "int8":
        import nncf

        nncf.set_log_level(logging.ERROR)
        sample = numpy.random.default_rng(1).standard_normal((64, inputs), dtype=numpy.float32)
        model = nncf.quantize(model, nncf.Dataset([sample]), model_type=nncf.ModelType.TRANSFORMER, subset_size=1)
    return openvino.Core().compile_model(model, "CPU", SETTINGS)


def best(request, rows, inputs, outputs):
    x = openvino.Tensor(numpy.random.default_rng(2).standard_normal((rows, inputs), dtype=numpy.float32))
    request.set_input_tensor(x)
    operations = 2 * rows * inputs * outputs
    fastest = float("inf")
    for _ in range(max(3, min(101, int(2e10 / operations)))):
        start = time.perf_counter()
        request.infer()
        fastest = min(fastest, time.perf_counter() - start)
    return operations / fastest / 1e9


print(f"OpenVINO {openvino.__version__}, {THREADS} threads; Gop/s for rows {ROWS}")
for kind in sys.argv[1:] or ["f32", "int8"]:
    for inputs, outputs in SHAPES:
        request = layer(kind, inputs, outputs).create_infer_request()
        speeds = [f"{best(request, rows, inputs, outputs):5.0f}" for rows in ROWS]
        print(f"{kind} {inputs:4} -> {outputs:4}: " + " ".join(speeds), flush=True)
