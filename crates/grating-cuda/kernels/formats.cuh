// How weights lie, and their decoding: eight neighbours of a row at a time. The numbers are those of `Format` in
// grating-backend, the block formats GGML's (ggml-quants.c of llama.cpp defines them).
#pragma once
#include "prelude.cuh"

enum Format { F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4K, Q5K, Q6K };

DEVICE u16 half_at(const u8* bytes) { return (u16)(bytes[0] | bytes[1] << 8); }
DEVICE float scale_at(const u8* bytes) { return f16_to_f32(half_at(bytes)); }
DEVICE float bf16_to_f32(u32 bits) { return bits_to_f32(bits << 16); }

// The 6-bit scale and minimum of the 32 elements `part` of a block of 256.
DEVICE void scale_and_minimum(const u8* packed, u32 part, float& scale, float& minimum) {
    u32 s, m;
    if (part < 4) {
        s = packed[part] & 63;
        m = packed[part + 4] & 63;
    } else {
        s = (packed[part + 4] & 15) | (packed[part - 4] >> 6) << 4;
        m = (packed[part + 4] >> 4) | (packed[part] >> 6) << 4;
    }
    scale = (float)s;
    minimum = (float)m;
}

// Elements `k`.. of a row of `columns`, both multiples of eight; 0 past the row.
template <int F>
DEVICE void decode8(const u8* row, u32 k, u32 columns, float (&out)[8]) {
    if (k >= columns) {
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = 0.0f;
        return;
    }
    if (F == F32) {
        const float* x = (const float*)row + k;
        const float4 a = *(const float4*)x, b = *(const float4*)(x + 4);
        out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
        out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
    } else if (F == F16 || F == BF16) {
        const uint4 all = *(const uint4*)((const u16*)row + k);
        const u32 pairs[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const u32 low = pairs[i] & 0xffff, high = pairs[i] >> 16;
            out[2 * i] = F == F16 ? f16_to_f32((u16)low) : bf16_to_f32(low);
            out[2 * i + 1] = F == F16 ? f16_to_f32((u16)high) : bf16_to_f32(high);
        }
    } else if (F == Q8_0) {
        const u8* block = row + k / 32 * 34;
        float d = scale_at(block);
        const i8* q = (const i8*)(block + 2) + k % 32;
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = d * (float)q[i];
    } else if (F == Q4_0 || F == Q4_1 || F == Q5_0 || F == Q5_1) {
        constexpr bool lifted = F == Q4_1 || F == Q5_1, fifth = F == Q5_0 || F == Q5_1;
        constexpr u32 head = lifted ? 4 : 2, bytes = head + (fifth ? 4 : 0) + 16;
        const u8* block = row + k / 32 * bytes;
        float d = scale_at(block), m = lifted ? scale_at(block + 2) : 0.0f;
        const u8* q = block + head + (fifth ? 4 : 0) + k % 16;
        u32 high = 0;
        if (fifth) {
            const u8* h = block + head;
            high = (h[0] | h[1] << 8 | h[2] << 16 | (u32)h[3] << 24) >> (k % 32);
        }
        const u32 shift = k % 32 < 16 ? 0 : 4;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int value = (int)(q[i] >> shift & 15) | (int)(fifth ? (high >> i & 1) << 4 : 0);
            out[i] = lifted ? d * (float)value + m : d * (float)(value - (fifth ? 16 : 8));
        }
    } else if (F == Q4K || F == Q5K) {
        constexpr u32 fifths = F == Q5K ? 32 : 0;
        const u8* block = row + k / 256 * (144 + fifths);
        const u32 part = k % 256 / 32;
        float scale, minimum;
        scale_and_minimum(block + 4, part, scale, minimum);
        const float d = scale_at(block) * scale, m = scale_at(block + 2) * minimum;
        const u8* q = block + 16 + fifths + part / 2 * 32 + k % 32;
        const u8* h = block + 16 + k % 32;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int value = q[i] >> part % 2 * 4 & 15;
            if (fifths > 0) value |= (h[i] >> part & 1) << 4;
            out[i] = d * (float)value - m;
        }
    } else {
        const u8* block = row + k / 256 * 210;
        const u32 within = k % 256, half = within / 128, quarter = within % 128 / 32, at = within % 32;
        const u8* low = block + half * 64 + (quarter % 2) * 32 + at;
        const u8* high = block + 128 + half * 32 + at;
        const i8* scales = (const i8*)(block + 192) + half * 8;
        const float d = scale_at(block + 208) * (float)scales[at / 16 + 2 * quarter];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int value = (low[i] >> quarter / 2 * 4 & 15) | (high[i] >> 2 * quarter & 3) << 4;
            out[i] = d * (float)(value - 32);
        }
    }
}

// A vector's element; vectors are stored in one of the plain formats.
DEVICE float vector_at(const u8* vector, u32 format, u32 index) {
    switch (format) {
        case F32: return ((const float*)vector)[index];
        case F16: return f16_to_f32(((const u16*)vector)[index]);
        default: return bf16_to_f32(((const u16*)vector)[index]);
    }
}
