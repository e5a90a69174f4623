// The device side of CUDA C++ on a CPU: what prelude.cuh takes from here in place of the compiler's own.
//
// The threads of a block are fibers on one thread of the system. One runs until it meets a barrier of its warp or of the
// block, a shuffle or a matrix product, which are barriers of the warp; a warp runs as far as it can before the next one
// does. Who forgets a barrier reads what is not written yet, and finds NaN.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };

namespace emulated {

struct Index { unsigned x, y, z; };

// Of the fiber that runs on this thread of the system.
extern __thread Index thread, block;

// What a kernel shares, at most as much as every device has for a block without asking.
constexpr size_t SHARED_BYTES = 48 << 10;
void* shared_memory(size_t bytes);

void barrier_of_warp();
void barrier_of_block();
unsigned exchange(unsigned value, unsigned lanes);
void product(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

typedef void (*Entry)(const void* arguments);

// Enters a kernel by its name.
struct Registration {
    Registration(const char* name, size_t argument_bytes, unsigned threads, Entry entry);
};

}  // namespace emulated

#define threadIdx (emulated::thread)
#define blockIdx (emulated::block)

#define DEVICE static inline
#define CALLED static inline
#define KERNEL(name, Arguments, threads)                                                        \
    static void name(const Arguments& args);                                                    \
    static emulated::Registration name##_registration(                                          \
        #name, sizeof(Arguments), threads, [](const void* of) { name(*(const Arguments*)of); }); \
    static void name(const Arguments& args)
#define SHARED(Type, name) Type& name = *(Type*)emulated::shared_memory(sizeof(Type))

DEVICE float bits_to_f32(u32 bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

DEVICE u32 f32_to_bits(float x) {
    u32 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

DEVICE float shuffle_xor(float x, u32 lanes) { return bits_to_f32(emulated::exchange(f32_to_bits(x), lanes)); }
DEVICE void sync_warp() { emulated::barrier_of_warp(); }
DEVICE void sync_block() { emulated::barrier_of_block(); }

DEVICE float f16_to_f32(u16 bits) {
    const u32 sign = (u32)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return bits_to_f32(sign | 0x7f800000 | fraction << 13);
    if (exponent > 0) return bits_to_f32(sign | (exponent + 112) << 23 | fraction << 13);
    const float x = (float)fraction * 5.9604644775390625e-08f;  // 2^-24
    return sign ? -x : x;
}

DEVICE u32 round_to_bf16(float x) {
    const u32 bits = f32_to_bits(x);
    if (x != x) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

DEVICE u32 pack_bf16(float low, float high) { return round_to_bf16(low) | round_to_bf16(high) << 16; }

DEVICE void mma_16x8x16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { emulated::product(d, a, b); }
