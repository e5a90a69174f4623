// What the kernels are written in: CUDA C++ for NVRTC, or plain C++ over an emulated device (emulation.h of the tests),
// where `GRATING_EMULATED` is defined. A kernel takes one structure by value and has one shared structure.
#pragma once

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef GRATING_EMULATED
#include "emulation.h"
#else
#define DEVICE __device__ __forceinline__
// Where a copy at each place would be much code for little.
#define CALLED __device__ __noinline__
#define KERNEL(name, Arguments, threads) \
    extern "C" __global__ void __launch_bounds__(threads) name(const Arguments args)
#define SHARED(Type, name) __shared__ Type name
// `float4`, `uint2` and `uint4` are the compiler's own.

DEVICE float shuffle_xor(float x, u32 lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }
DEVICE void sync_warp() { __syncwarp(); }
DEVICE void sync_block() { __syncthreads(); }

DEVICE float f16_to_f32(u16 bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

DEVICE float bits_to_f32(u32 bits) { return __uint_as_float(bits); }

// Two bf16, rounded to nearest even, the first in the lower half.
DEVICE u32 pack_bf16(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// d += a b of a warp: [16, 16] by [16, 8], bf16, sums in f32; who holds what is mma.m16n8k16's matter.
DEVICE void mma_16x8x16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

constexpr float LARGEST = 3.402823466e+38f;

DEVICE u32 lower(u32 a, u32 b) { return a < b ? a : b; }
DEVICE u32 higher(u32 a, u32 b) { return a > b ? a : b; }

DEVICE float warp_sum(float x) {
#pragma unroll
    for (u32 lanes = 16; lanes > 0; lanes /= 2) x += shuffle_xor(x, lanes);
    return x;
}

const u32 NO_ACTIVATION = 5;

CALLED float activated(u32 activation, float x) {
    switch (activation) {
        case 0: return x / (1.0f + expf(-x));
        case 1: return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
        case 2: return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
        case 3: return fmaxf(x, 0.0f);
        case 4: return tanhf(x);
        default: return x;
    }
}
