// Softmax attention on tensor cores: queries, keys, values and weights of the softmax are rounded to bf16, sums are f32.
// A tile of 64 queries and one head a block, 16 queries a warp; keys in tiles of 64 that begin where those of
// attention.cuh would, so that a query comes to the same whoever shares its tile. Heads are of a multiple of four columns.
#pragma once
#include "attention.cuh"

const u32 ROUNDED_QUERIES = 64;
const u32 ROUNDED_KEYS = 64;

// Pairs of bf16; four more words keep the rows of a fragment in banks of their own.
template <int W>
struct RoundedAttentionTiles {
    u32 keys[ROUNDED_KEYS][W / 2 + 4];
    // Values turned: pairs of neighbouring keys of each column.
    u32 values[W][ROUNDED_KEYS / 2 + 4];
};

// Four columns of a row, 0 past the width.
DEVICE float4 columns4(const float* row, u32 column, u32 width) {
    if (!row || column >= width) return {0.0f, 0.0f, 0.0f, 0.0f};
    return *(const float4*)(row + column);
}

DEVICE const float* key_row(const float* prefix, const float* own, const Sequence& sequence, u32 key, u32 stride) {
    if (key >= sequence.tokens) return nullptr;
    return key < sequence.prefix ? prefix + (u64)key * stride
                                 : own + (u64)(sequence.first + key - sequence.prefix) * stride;
}

template <int W>
DEVICE void load_rounded(RoundedAttentionTiles<W>& tiles, const AttentionArguments& args, const Sequence& sequence,
                         u32 from, u32 kv_columns, u32 stride) {
    const float *pk = args.prefix_keys + kv_columns, *k = args.keys + kv_columns;
    const float *pv = args.prefix_values + kv_columns, *v = args.values + kv_columns;
#pragma unroll 2
    for (u32 at = threadIdx.x; at < ROUNDED_KEYS * (W / 4); at += 128) {
        const u32 row = at / (W / 4), quad = at % (W / 4);
        const float4 x = columns4(key_row(pk, k, sequence, from + row, stride), quad * 4, args.width);
        tiles.keys[row][quad * 2] = pack_bf16(x.x, x.y);
        tiles.keys[row][quad * 2 + 1] = pack_bf16(x.z, x.w);
    }
#pragma unroll 2
    for (u32 at = threadIdx.x; at < ROUNDED_KEYS / 2 * (W / 4); at += 128) {
        // Eight pairs by four times four columns a warp: few bytes of a row are left out, few banks are shared.
        const u32 rest = at / 32;
        const u32 pair = rest % (ROUNDED_KEYS / 16) * 8 + at % 8;
        const u32 column = (rest / (ROUNDED_KEYS / 16) * 4 + at % 32 / 8) * 4;
        const float4 a = columns4(key_row(pv, v, sequence, from + 2 * pair, stride), column, args.width);
        const float4 b = columns4(key_row(pv, v, sequence, from + 2 * pair + 1, stride), column, args.width);
        tiles.values[column][pair] = pack_bf16(a.x, b.x);
        tiles.values[column + 1][pair] = pack_bf16(a.y, b.y);
        tiles.values[column + 2][pair] = pack_bf16(a.z, b.z);
        tiles.values[column + 3][pair] = pack_bf16(a.w, b.w);
    }
}

template <int W>
DEVICE void attend_rounded(const AttentionArguments& args) {
    constexpr int KEYS = ROUNDED_KEYS;
    typedef RoundedAttentionTiles<W> Tiles;
    SHARED(Tiles, tiles);
    const u32 head = blockIdx.y, kv_head = head / (args.heads / args.kv_heads);
    const u32 stride = args.heads * args.width, kv_stride = args.kv_heads * args.width;
    const u32 columns = head * args.width, kv_columns = kv_head * args.width;
    const Asked asked = asked_of(args, ROUNDED_QUERIES);
    const Sequence& sequence = asked.sequence;
    const u32 first = args.prefix + asked.place, last = first + asked.queries - 1;
    const u32 end = end_of_keys(args, sequence, last);

    const u32 warp_row = threadIdx.x / 32 * 16, group = threadIdx.x % 32 / 4, lane = threadIdx.x % 4;
    // The same for all lanes of a warp.
    const bool idle = warp_row >= asked.queries;
    // Of this thread: these rows, and from each step of 16 columns two pairs.
    const u32 rows[2] = {warp_row + group, warp_row + group + 8};
    u32 q[W / 16][4];
#pragma unroll
    for (int step = 0; step < W / 16; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const u32 row = rows[i % 2], column = step * 16 + i / 2 * 8 + lane * 2;
            const float* of = args.q + (u64)(asked.q_row + row) * stride + columns + column;
            const bool there = row < asked.queries;
            q[step][i] = there && column < args.width ? pack_bf16(of[0], of[1]) : 0;
        }
    float most[2] = {-LARGEST, -LARGEST}, total[2] = {0.0f, 0.0f};
    float sums[W / 8][4] = {};

    for (u32 from = begin_of_keys(args, first, KEYS); from < end; from += KEYS) {
        sync_block();
        load_rounded<W>(tiles, args, sequence, from, kv_columns, kv_stride);
        sync_block();
        if (idle) continue;
        float s[KEYS / 8][4] = {};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int step = 0; step < W / 16; step++) {
                const u32* key = tiles.keys[n * 8 + group] + step * 8 + lane;
                const u32 b[2] = {key[0], key[4]};
                mma_16x8x16(s[n], q[step], b);
            }
        u32 p[KEYS / 16][4];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const u32 query = first + rows[r];
            float top = -LARGEST;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float& x = s[n][2 * r + i];
                    const u32 key = from + n * 8 + lane * 2 + i;
                    x *= args.scale;
                    if (args.softcap > 0.0f) x = capped(x, args.softcap);
                    if (rows[r] >= asked.queries || !sees(args, sequence, query, key)) x = -LARGEST;
                    top = fmaxf(top, x);
                }
            // The four threads of a row are neighbours.
            top = fmaxf(top, shuffle_xor(top, 1));
            top = fmaxf(top, shuffle_xor(top, 2));
            const float before = most[r];
            most[r] = fmaxf(before, top);
            const float kept = expf(before - most[r]);
            float sum = 0.0f;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) {
                const float a = s[n][2 * r], b = s[n][2 * r + 1];
                const float x = a > -LARGEST ? expf(a - most[r]) : 0.0f;
                const float y = b > -LARGEST ? expf(b - most[r]) : 0.0f;
                p[n / 2][n % 2 * 2 + r] = pack_bf16(x, y);
                sum += x + y;
            }
            sum += shuffle_xor(sum, 1);
            sum += shuffle_xor(sum, 2);
            total[r] = total[r] * kept + sum;
#pragma unroll
            for (int n = 0; n < W / 8; n++) sums[n][2 * r] *= kept, sums[n][2 * r + 1] *= kept;
        }
#pragma unroll
        for (int n = 0; n < W / 8; n++)
#pragma unroll
            for (int step = 0; step < KEYS / 16; step++) {
                const u32* value = tiles.values[n * 8 + group] + step * 8 + lane;
                const u32 b[2] = {value[0], value[4]};
                mma_16x8x16(sums[n], p[step], b);
            }
    }
    if (idle) return;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if (rows[r] >= asked.queries) continue;
        float* out = args.out + (u64)(asked.q_row + rows[r]) * stride + columns;
#pragma unroll
        for (int n = 0; n < W / 8; n++) {
            const u32 column = n * 8 + lane * 2;
            if (column >= args.width) continue;
            out[column] = sums[n][2 * r] / total[r];
            out[column + 1] = sums[n][2 * r + 1] / total[r];
        }
    }
}

KERNEL(attention_rounded_32, AttentionArguments, 128) { attend_rounded<32>(args); }
KERNEL(attention_rounded_64, AttentionArguments, 128) { attend_rounded<64>(args); }
KERNEL(attention_rounded_128, AttentionArguments, 128) { attend_rounded<128>(args); }
