"""Compiles CUDA C++ to PTX with NVRTC: compile.py LIBRARY KERNELS_FOLDER OUTPUT.

NVRTC needs neither a device nor a driver. The library is that of PyPI's nvidia-cuda-nvrtc-cu12.
"""

import ctypes
import pathlib
import sys

library, folder, output = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
nvrtc = ctypes.CDLL(library)
nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p


def check(status):
    if status != 0:
        sys.exit(f"NVRTC: {nvrtc.nvrtcGetErrorString(status).decode()}")


def text(size, get):
    """What NVRTC returns in two calls: its length, then itself."""
    count = ctypes.c_size_t()
    check(size(program, ctypes.byref(count)))
    buffer = ctypes.create_string_buffer(count.value)
    check(get(program, buffer))
    return buffer.value


headers = sorted(folder.glob("*.cuh"))
names = (ctypes.c_char_p * len(headers))(*[h.name.encode() for h in headers])
bodies = (ctypes.c_char_p * len(headers))(*[h.read_bytes() for h in headers])
program = ctypes.c_void_p()
source = (folder / "kernels.cu").read_bytes()
check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", len(headers), bodies, names))
options = [b"--gpu-architecture=compute_80", b"--std=c++17"]
status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
log = text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog).decode()
if log.strip():
    print(log, file=sys.stderr)
check(status)
ptx = text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX).decode()
# Without indentation, blank lines and comments it is a tenth smaller.
lines = [line.strip() for line in ptx.splitlines()]
output.write_text("".join(f"{line}\n" for line in lines if line and not line.startswith("//")))
