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

// Four columns of a key's row, rounded; 0 where there are none.
DEVICE uint2 key4(const Rows& rows, const Sequence& sequence, u32 key, u32 column, u32 width) {
    if (key >= sequence.tokens || column >= width) return {0, 0};
    u64 first;
    const u8* of = tensor_of(rows, sequence, key, first);
    return rounded4(of, rows.format, first + column);
}

template <int W>
DEVICE void load_rounded(RoundedAttentionTiles<W>& tiles, const Rows& keys, const Rows& values,
                         const Sequence& sequence, u32 from, u32 width) {
#pragma unroll 2
    for (u32 at = threadIdx.x; at < ROUNDED_KEYS * (W / 4); at += 128) {
        const u32 row = at / (W / 4), quad = at % (W / 4);
        *(uint2*)&tiles.keys[row][quad * 2] = key4(keys, sequence, from + row, quad * 4, width);
    }
#pragma unroll 2
    for (u32 at = threadIdx.x; at < ROUNDED_KEYS / 2 * (W / 4); at += 128) {
        // Eight pairs by four times four columns a warp: few bytes of a row are left out, few banks are shared.
        const u32 rest = at / 32;
        const u32 pair = rest % (ROUNDED_KEYS / 16) * 8 + at % 8;
        const u32 column = (rest / (ROUNDED_KEYS / 16) * 4 + at % 32 / 8) * 4;
        const uint2 a = key4(values, sequence, from + 2 * pair, column, width);
        const uint2 b = key4(values, sequence, from + 2 * pair + 1, column, width);
        tiles.values[column][pair] = (a.x & 0xffff) | b.x << 16;
        tiles.values[column + 1][pair] = a.x >> 16 | (b.x & 0xffff0000);
        tiles.values[column + 2][pair] = (a.y & 0xffff) | b.y << 16;
        tiles.values[column + 3][pair] = a.y >> 16 | (b.y & 0xffff0000);
    }
}

template <int W>
DEVICE void attend_rounded(const AttentionArguments& args) {
    constexpr int KEYS = ROUNDED_KEYS;
    typedef RoundedAttentionTiles<W> Tiles;
    SHARED(Tiles, tiles);
    const u32 head = blockIdx.y, kv_head = head / (args.heads / args.kv_heads);
    const u32 stride = args.heads * args.width, columns = head * args.width;
    const Rows keys = keys_of(args, kv_head * args.width), values = values_of(args, kv_head * args.width);
    const Asked asked = asked_of(args, ROUNDED_QUERIES);
    const Sequence& sequence = asked.sequence;
    const u32 first = args.prefix + asked.place, last = first + asked.queries - 1;
    const u32 end = end_of_keys(args, sequence, last);

    const u32 warp_row = threadIdx.x / 32 * 16, group = threadIdx.x % 32 / 4, lane = threadIdx.x % 4;
    // The same for all lanes of a warp.
    const bool idle = warp_row >= asked.queries;
    // Of this thread: these rows, and from each step of 16 columns two pairs.
    const u32 places[2] = {warp_row + group, warp_row + group + 8};
    u32 q[W / 16][4];
#pragma unroll
    for (int step = 0; step < W / 16; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const u32 row = places[i % 2], column = step * 16 + i / 2 * 8 + lane * 2;
            const u64 first = (u64)(asked.q_row + row) * stride + columns;
            const bool there = row < asked.queries && column < args.width;
            q[step][i] = there ? rounded2(args.q, args.q_format, first + column) : 0;
        }
    Running rows[2] = {{UNSEEN, 0.0f}, {UNSEEN, 0.0f}};
    float sums[W / 8][4] = {};

    for (u32 from = begin_of_keys(args, first, KEYS); from < end; from += KEYS) {
        sync_block();
        load_rounded<W>(tiles, keys, values, sequence, from, args.width);
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
            const u32 query = first + places[r];
            float x[KEYS / 4];
#pragma unroll
            for (int i = 0; i < KEYS / 4; i++) {
                const u32 key = from + i / 2 * 8 + lane * 2 + i % 2;
                const bool seen = places[r] < asked.queries && sees(args, sequence, query, key);
                x[i] = seen ? scaled(args, s[i / 2][2 * r + i % 2]) : UNSEEN;
            }
            // The four threads of a row are neighbours.
            const float kept = weigh<KEYS / 4, 4>(rows[r], x);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) p[n / 2][n % 2 * 2 + r] = pack_bf16(x[2 * n], x[2 * n + 1]);
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
    // The outcome where keys and values were, each warp's rows by themselves.
    static_assert(sizeof(float[ROUNDED_QUERIES][W + 4]) <= sizeof(Tiles), "the outcome has no room where tiles were");
    float(*stage)[W + 4] = (float(*)[W + 4]) & tiles;
    sync_block();
    if (idle) return;
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int n = 0; n < W / 8; n++) {
            float* out = &stage[places[r]][n * 8 + lane * 2];
            out[0] = sums[n][2 * r] / rows[r].total, out[1] = sums[n][2 * r + 1] / rows[r].total;
        }
    sync_warp();
    const u32 pairs = args.width / 2, own = lower(16, asked.queries - warp_row);
#pragma unroll 1
    for (u32 at = threadIdx.x % 32; at < own * pairs; at += 32) {
        const u32 row = warp_row + at / pairs, column = at % pairs * 2;
        const u64 first_out = (u64)(asked.q_row + row) * stride + columns;
        put2(args.out, args.out_format, first_out + column, stage[row][column], stage[row][column + 1]);
    }
}

KERNEL(attention_rounded_32, AttentionArguments, 128) { attend_rounded<32>(args); }
KERNEL(attention_rounded_64, AttentionArguments, 128) { attend_rounded<64>(args); }
KERNEL(attention_rounded_128, AttentionArguments, 128) { attend_rounded<128>(args); }
