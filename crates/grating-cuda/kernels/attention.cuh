// Softmax attention over sequences of different lengths, each after a prefix that all share: a tile of 32 queries and
// one head a block, keys in tiles that begin at multiples of their size from the prefix's first token on, whatever the
// queries. What a query comes to does not depend on who shares its tile.
#pragma once
#include "arguments.cuh"

const u32 QUERIES = 32;

// Heads of up to W columns, tiles of KEYS keys. Four more columns keep rows in banks of their own.
template <int W, int KEYS>
struct AttentionTiles {
    float q[QUERIES][W + 4];
    // Keys, then values.
    float kv[KEYS][W + 4];
    float p[QUERIES][KEYS + 1];
};

struct Sequence {
    // Its first row, and how many tokens it has, the prefix included.
    u32 first, tokens;
    u32 prefix;
};

// Who asks in a block: `queries` rows of q from `q_row` on, which stand at `place` of the sequence's own.
struct Asked {
    Sequence sequence;
    u32 place, q_row, queries;
};

// The tiles are of so many queries.
DEVICE Asked asked_of(const AttentionArguments& args, u32 most) {
    Asked asked;
    const u32 index = args.scored ? blockIdx.x : args.tiles[2 * blockIdx.x];
    asked.sequence.first = args.offsets[index];
    asked.sequence.prefix = args.prefix;
    const u32 own = args.offsets[index + 1] - asked.sequence.first;
    asked.sequence.tokens = args.prefix + own;
    asked.place = args.scored == 2 ? own - 1 : 0;
    asked.q_row = index;
    asked.queries = 1;
    if (args.scored == 0) {
        asked.place = args.tiles[2 * blockIdx.x + 1];
        asked.q_row = asked.sequence.first + asked.place;
        asked.queries = lower(most, own - asked.place);
    }
    return asked;
}

// Keys that some query from the first to the last sees lie between these: positions rise by one or more.
DEVICE u32 begin_of_keys(const AttentionArguments& args, u32 first, u32 tile) {
    return (first > args.window ? first - args.window : 0) / tile * tile;
}

DEVICE u32 end_of_keys(const AttentionArguments& args, const Sequence& sequence, u32 last) {
    const u32 end = args.causal ? last + 1 : sequence.tokens;
    return args.window < sequence.tokens ? lower(end, last + args.window + 1) : end;
}

// Between -cap and cap; cap tanh(x / cap) by one exponential.
DEVICE float capped(float x, float cap) { return cap - 2.0f * cap / (expf(2.0f * x / cap) + 1.0f); }

const u32 NO_WINDOW = 0x7fffffff;

DEVICE u32 position_of(const AttentionArguments& args, const Sequence& sequence, u32 key) {
    return key < sequence.prefix ? key : args.positions[sequence.first + key - sequence.prefix];
}

// Whether a query, which is one of the sequence's tokens, sees a key.
DEVICE bool sees(const AttentionArguments& args, const Sequence& sequence, u32 query, u32 key) {
    if (key >= sequence.tokens || (args.causal && key > query)) return false;
    if (args.window >= NO_WINDOW) return true;
    const u32 a = position_of(args, sequence, query), b = position_of(args, sequence, key);
    return (a > b ? a - b : b - a) <= args.window;
}

// Rows of `prefix` before those of `own`, one head's columns, 0 where there is none.
template <int W, int ROWS>
DEVICE void load_rows(float (*to)[W + 4], const float* prefix, const float* own, const Sequence& sequence,
                      u32 from, u32 end, u32 stride, u32 width) {
    const bool by_four = width % 4 == 0;
    for (u32 at = threadIdx.x; at < ROWS * (W / 4); at += 128) {
        const u32 row = at / (W / 4), column = at % (W / 4) * 4, key = from + row;
        float4 x = {0.0f, 0.0f, 0.0f, 0.0f};
        if (key < end && column < width) {
            const float* of = key < sequence.prefix
                ? prefix + (u64)key * stride
                : own + (u64)(sequence.first + key - sequence.prefix) * stride;
            if (by_four) {
                x = *(const float4*)(of + column);
            } else {
                x.x = of[column];
                if (column + 1 < width) x.y = of[column + 1];
                if (column + 2 < width) x.z = of[column + 2];
                if (column + 3 < width) x.w = of[column + 3];
            }
        }
        *(float4*)&to[row][column] = x;
    }
}

DEVICE float dot(const float* a, const float* b, u32 width) {
    float sum = 0.0f;
#pragma unroll 1
    for (u32 i = 0; i < width; i++) sum += a[i] * b[i];
    return sum;
}

template <int W, int KEYS, bool BY_DISTANCE>
DEVICE void attend(const AttentionArguments& args) {
    constexpr int EACH = KEYS / 8;
    typedef AttentionTiles<W, KEYS> Tiles;
    SHARED(Tiles, tiles);
    const u32 head = blockIdx.y, kv_head = head / (args.heads / args.kv_heads);
    const u32 stride = args.heads * args.width, kv_stride = args.kv_heads * args.width;
    const u32 columns = head * args.width, kv_columns = kv_head * args.width;
    const Asked asked = asked_of(args, QUERIES);
    const Sequence& sequence = asked.sequence;
    const u32 q_row = asked.q_row, queries = asked.queries;
    const u32 first = args.prefix + asked.place, last = first + queries - 1;

    const Sequence of_q = {q_row, 0, 0};
    load_rows<W, QUERIES>(tiles.q, args.q, args.q + columns, of_q, 0, queries, stride, args.width);
    const u32 end = end_of_keys(args, sequence, last), begin = begin_of_keys(args, first, KEYS);

    const u32 tx = threadIdx.x % 8, ty = threadIdx.x / 8 * 2;
    float most[2] = {-LARGEST, -LARGEST}, total[2] = {0.0f, 0.0f};
    float4 sums[2][W / 32];
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int c = 0; c < W / 32; c++) sums[r][c] = {0.0f, 0.0f, 0.0f, 0.0f};

    for (u32 from = begin; from < end; from += KEYS) {
        sync_block();
        load_rows<W, KEYS>(tiles.kv, args.prefix_keys + kv_columns, args.keys + kv_columns, sequence, from,
                           sequence.tokens, kv_stride, args.width);
        sync_block();
        float s[2][EACH] = {};
#pragma unroll 4
        for (u32 c = 0; c < W; c += 4) {
            const float4 a = *(const float4*)&tiles.q[ty][c], b = *(const float4*)&tiles.q[ty + 1][c];
#pragma unroll
            for (int j = 0; j < EACH; j++) {
                const float4 k = *(const float4*)&tiles.kv[tx + 8 * j][c];
                s[0][j] += a.x * k.x, s[0][j] += a.y * k.y, s[0][j] += a.z * k.z, s[0][j] += a.w * k.w;
                s[1][j] += b.x * k.x, s[1][j] += b.y * k.y, s[1][j] += b.z * k.z, s[1][j] += b.w * k.w;
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const u32 query = first + ty + r;
            float top = -LARGEST;
            bool seen[EACH];
#pragma unroll
            for (int j = 0; j < EACH; j++) {
                const u32 key = from + tx + 8 * j;
                seen[j] = ty + r < queries && sees(args, sequence, query, key);
                if (!seen[j]) continue;
                if (BY_DISTANCE) {
                    const u32 at = position_of(args, sequence, query) + args.longest - 1;
                    const u64 row = args.distance_rows[at - position_of(args, sequence, key)];
                    if (args.distance_keys)
                        s[r][j] += dot(tiles.q[ty + r], args.distance_keys + row * stride + columns, args.width);
                    if (args.distance_queries)
                        s[r][j] += dot(tiles.kv[tx + 8 * j], args.distance_queries + row * stride + columns, args.width);
                }
                s[r][j] *= args.scale;
                if (args.softcap > 0.0f) s[r][j] = capped(s[r][j], args.softcap);
                top = fmaxf(top, s[r][j]);
            }
            // The eight threads of a row are neighbours in a warp.
            top = fmaxf(top, shuffle_xor(top, 1));
            top = fmaxf(top, shuffle_xor(top, 2));
            top = fmaxf(top, shuffle_xor(top, 4));
            const float before = most[r];
            most[r] = fmaxf(before, top);
            // 1 to the bit where the tile has nothing for this query.
            const float kept = expf(before - most[r]);
            float sum = 0.0f;
#pragma unroll
            for (int j = 0; j < EACH; j++) {
                const float p = seen[j] ? expf(s[r][j] - most[r]) : 0.0f;
                tiles.p[ty + r][tx + 8 * j] = p;
                sum += p;
            }
            sum += shuffle_xor(sum, 1);
            sum += shuffle_xor(sum, 2);
            sum += shuffle_xor(sum, 4);
            total[r] = total[r] * kept + sum;
#pragma unroll
            for (int c = 0; c < W / 32; c++)
                sums[r][c].x *= kept, sums[r][c].y *= kept, sums[r][c].z *= kept, sums[r][c].w *= kept;
        }
        sync_block();
        load_rows<W, KEYS>(tiles.kv, args.prefix_values + kv_columns, args.values + kv_columns, sequence, from,
                           sequence.tokens, kv_stride, args.width);
        sync_block();
#pragma unroll 4
        for (u32 k = 0; k < KEYS; k++) {
            const float a = tiles.p[ty][k], b = tiles.p[ty + 1][k];
#pragma unroll
            for (int c = 0; c < W / 32; c++) {
                const float4 v = *(const float4*)&tiles.kv[k][tx * 4 + 32 * c];
                sums[0][c].x += a * v.x, sums[0][c].y += a * v.y, sums[0][c].z += a * v.z, sums[0][c].w += a * v.w;
                sums[1][c].x += b * v.x, sums[1][c].y += b * v.y, sums[1][c].z += b * v.z, sums[1][c].w += b * v.w;
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if (ty + r >= queries) continue;
        float* out = args.out + (u64)(q_row + ty + r) * stride + columns;
#pragma unroll
        for (int c = 0; c < W / 32; c++) {
            const u32 column = tx * 4 + 32 * c;
            const float4 x = sums[r][c];
            if (column < args.width) out[column] = x.x / total[r];
            if (column + 1 < args.width) out[column + 1] = x.y / total[r];
            if (column + 2 < args.width) out[column + 2] = x.z / total[r];
            if (column + 3 < args.width) out[column + 3] = x.w / total[r];
        }
    }
}

KERNEL(attention_32, AttentionArguments, 128) { attend<32, 32, false>(args); }
KERNEL(attention_64, AttentionArguments, 128) { attend<64, 32, false>(args); }
KERNEL(attention_128, AttentionArguments, 128) { attend<128, 32, false>(args); }
KERNEL(attention_256, AttentionArguments, 128) { attend<256, 8, false>(args); }
KERNEL(attention_by_distance_32, AttentionArguments, 128) { attend<32, 32, true>(args); }
KERNEL(attention_by_distance_64, AttentionArguments, 128) { attend<64, 32, true>(args); }
KERNEL(attention_by_distance_128, AttentionArguments, 128) { attend<128, 32, true>(args); }
