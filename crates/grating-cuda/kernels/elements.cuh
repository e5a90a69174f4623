// Elements of activations: hidden states are f32, what lies between operations may be bf16.
#pragma once
#include "formats.cuh"

// Of F32 or BF16.
DEVICE float element_at(const u8* x, u32 format, u64 index) {
    return format == BF16 ? bf16_to_f32(((const u16*)x)[index]) : ((const float*)x)[index];
}

DEVICE void put(u8* out, u32 format, u64 index, float x) {
    if (format == BF16) {
        ((u16*)out)[index] = (u16)pack_bf16(x, 0.0f);
    } else {
        ((float*)out)[index] = x;
    }
}

// Two neighbours from an even place on.
DEVICE void put2(u8* out, u32 format, u64 index, float x, float y) {
    if (format == BF16) {
        *(u32*)((u16*)out + index) = pack_bf16(x, y);
    } else {
        ((float*)out)[index] = x, ((float*)out)[index + 1] = y;
    }
}

// Four neighbours from a multiple of four on.
DEVICE float4 elements4(const u8* x, u32 format, u64 index) {
    if (format != BF16) return *(const float4*)((const float*)x + index);
    const uint2 pairs = *(const uint2*)((const u16*)x + index);
    return {bf16_to_f32(pairs.x & 0xffff), bf16_to_f32(pairs.x >> 16), bf16_to_f32(pairs.y & 0xffff),
            bf16_to_f32(pairs.y >> 16)};
}

// The same, rounded to bf16: the first two, and the other two.
DEVICE uint2 rounded4(const u8* x, u32 format, u64 index) {
    if (format == BF16) return *(const uint2*)((const u16*)x + index);
    const float4 all = *(const float4*)((const float*)x + index);
    return {pack_bf16(all.x, all.y), pack_bf16(all.z, all.w)};
}

// Two neighbours from an even place on, rounded to bf16.
DEVICE u32 rounded2(const u8* x, u32 format, u64 index) {
    if (format == BF16) return *(const u32*)((const u16*)x + index);
    return pack_bf16(((const float*)x)[index], ((const float*)x)[index + 1]);
}

// Where element `index` is.
DEVICE const u8* place_of(const u8* x, u32 format, u64 index) { return x + index * (format == BF16 ? 2 : 4); }

DEVICE float dot(const u8* a, u32 a_format, const u8* b, u32 b_format, u32 width) {
    float sum = 0.0f;
#pragma unroll 1
    for (u32 i = 0; i < width; i++) sum += element_at(a, a_format, i) * element_at(b, b_format, i);
    return sum;
}
