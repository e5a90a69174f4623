// Softmax attention over sequences of different lengths, each after a prefix that all share: a tile of 32 queries and
// one head a block, keys in tiles that begin at multiples of their size from the prefix's first token on, whatever the
// queries. What a query comes to does not depend on who shares its tile.
#pragma once
#include "arguments.cuh"
#include "elements.cuh"
#include "softmax.cuh"

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

const u32 NO_WINDOW = 0x7fffffff;

DEVICE u32 position_of(const AttentionArguments& args, const Sequence& sequence, u32 key) {
    return key < sequence.prefix ? key : args.positions[sequence.first + key - sequence.prefix];
}

CALLED bool is_near(const u32* positions, u32 first, u32 prefix, u32 window, u32 query, u32 key) {
    const u32 a = query < prefix ? query : positions[first + query - prefix];
    const u32 b = key < prefix ? key : positions[first + key - prefix];
    return (a > b ? a - b : b - a) <= window;
}

// Whether a query, which is one of the sequence's tokens, sees a key.
DEVICE bool sees(const AttentionArguments& args, const Sequence& sequence, u32 query, u32 key) {
    if (key >= sequence.tokens || (args.causal && key > query)) return false;
    return args.window >= NO_WINDOW || is_near(args.positions, sequence.first, sequence.prefix, args.window, query, key);
}

// Of a product, what distances add to it; q and k are rows of the head's columns.
DEVICE float with_distance(const AttentionArguments& args, const Sequence& sequence, float product, u32 head, u32 query,
                           u32 key, const u8* q, u32 q_format, const u8* k, u32 k_format) {
    const u32 at = position_of(args, sequence, query) + args.longest - 1, format = args.distance_format;
    const u64 row = args.distance_rows[at - position_of(args, sequence, key)];
    const u64 first = (row * args.heads + head) * args.width;
    if (args.distance_keys)
        product += dot(q, q_format, place_of(args.distance_keys, format, first), format, args.width);
    if (args.distance_queries)
        product += dot(k, k_format, place_of(args.distance_queries, format, first), format, args.width);
    return product;
}

// Rows of tensors of keys or of values, one head's columns from the first on.
struct Rows {
    const u8* prefix;
    const u8* own;
    u32 format;
    u32 first_column;
    // Of a row, columns.
    u32 stride;
};

DEVICE Rows keys_of(const AttentionArguments& args, u32 first_column) {
    return {args.prefix_keys, args.keys, args.key_format, first_column, args.kv_heads * args.width};
}

DEVICE Rows values_of(const AttentionArguments& args, u32 first_column) {
    return {args.prefix_values, args.values, args.value_format, first_column, args.kv_heads * args.width};
}

// The tensor that has a key, and which element its row begins with.
DEVICE const u8* tensor_of(const Rows& rows, const Sequence& sequence, u32 key, u64& first) {
    const bool shared = key < sequence.prefix;
    first = (u64)(shared ? key : sequence.first + key - sequence.prefix) * rows.stride + rows.first_column;
    return shared ? rows.prefix : rows.own;
}

// The rows of keys `from`.. to shared memory, 0 where there is none.
template <int W, int ROWS>
DEVICE void load_rows(float (*to)[W + 4], const Rows& rows, const Sequence& sequence, u32 from, u32 end, u32 width) {
    const bool by_four = width % 4 == 0;
    for (u32 at = threadIdx.x; at < ROWS * (W / 4); at += 128) {
        const u32 row = at / (W / 4), column = at % (W / 4) * 4, key = from + row;
        float4 x = {0.0f, 0.0f, 0.0f, 0.0f};
        if (key < end && column < width) {
            u64 first;
            const u8* of = tensor_of(rows, sequence, key, first);
            first += column;
            if (by_four) {
                x = elements4(of, rows.format, first);
            } else {
                x.x = element_at(of, rows.format, first);
                if (column + 1 < width) x.y = element_at(of, rows.format, first + 1);
                if (column + 2 < width) x.z = element_at(of, rows.format, first + 2);
                if (column + 3 < width) x.w = element_at(of, rows.format, first + 3);
            }
        }
        *(float4*)&to[row][column] = x;
    }
}

template <int W, int KEYS, bool BY_DISTANCE>
DEVICE void attend(const AttentionArguments& args) {
    constexpr int EACH = KEYS / 8;
    typedef AttentionTiles<W, KEYS> Tiles;
    SHARED(Tiles, tiles);
    const u32 head = blockIdx.y, kv_head = head / (args.heads / args.kv_heads);
    const u32 stride = args.heads * args.width, columns = head * args.width;
    const Rows keys = keys_of(args, kv_head * args.width), values = values_of(args, kv_head * args.width);
    const Asked asked = asked_of(args, QUERIES);
    const Sequence& sequence = asked.sequence;
    const u32 q_row = asked.q_row, queries = asked.queries;
    const u32 first = args.prefix + asked.place, last = first + queries - 1;

    const Sequence of_q = {q_row, 0, 0};
    const Rows q = {nullptr, args.q, args.q_format, columns, stride};
    load_rows<W, QUERIES>(tiles.q, q, of_q, 0, queries, args.width);
    const u32 end = end_of_keys(args, sequence, last), begin = begin_of_keys(args, first, KEYS);

    const u32 tx = threadIdx.x % 8, ty = threadIdx.x / 8 * 2;
    Running rows[2] = {{UNSEEN, 0.0f}, {UNSEEN, 0.0f}};
    float4 sums[2][W / 32];
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int c = 0; c < W / 32; c++) sums[r][c] = {0.0f, 0.0f, 0.0f, 0.0f};

    for (u32 from = begin; from < end; from += KEYS) {
        sync_block();
        load_rows<W, KEYS>(tiles.kv, keys, sequence, from, sequence.tokens, args.width);
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
#pragma unroll
            for (int j = 0; j < EACH; j++) {
                const u32 key = from + tx + 8 * j;
                if (ty + r >= queries || !sees(args, sequence, query, key)) {
                    s[r][j] = UNSEEN;
                    continue;
                }
                if (BY_DISTANCE)
                    s[r][j] = with_distance(args, sequence, s[r][j], head, query, key, (const u8*)tiles.q[ty + r], F32,
                                            (const u8*)tiles.kv[tx + 8 * j], F32);
                s[r][j] = scaled(args, s[r][j]);
            }
            // The eight threads of a row are neighbours in a warp.
            const float kept = weigh<EACH, 8>(rows[r], s[r]);
#pragma unroll
            for (int j = 0; j < EACH; j++) tiles.p[ty + r][tx + 8 * j] = s[r][j];
#pragma unroll
            for (int c = 0; c < W / 32; c++)
                sums[r][c].x *= kept, sums[r][c].y *= kept, sums[r][c].z *= kept, sums[r][c].w *= kept;
        }
        sync_block();
        load_rows<W, KEYS>(tiles.kv, values, sequence, from, sequence.tokens, args.width);
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
    // The outcome where the queries were.
    sync_block();
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int c = 0; c < W / 32; c++) {
            float* out = &tiles.q[ty + r][tx * 4 + 32 * c];
            const float4 x = sums[r][c];
            const float total = rows[r].total;
            out[0] = x.x / total, out[1] = x.y / total, out[2] = x.z / total, out[3] = x.w / total;
        }
    sync_block();
#pragma unroll 1
    for (u32 at = threadIdx.x; at < queries * args.width; at += 128) {
        const u32 row = at / args.width, column = at % args.width;
        put(args.out, args.out_format, (u64)(q_row + row) * stride + columns + column, tiles.q[row][column]);
    }
}

KERNEL(attention_32, AttentionArguments, 128) { attend<32, 32, false>(args); }
KERNEL(attention_64, AttentionArguments, 128) { attend<64, 32, false>(args); }
KERNEL(attention_128, AttentionArguments, 128) { attend<128, 32, false>(args); }
KERNEL(attention_256, AttentionArguments, 128) { attend<256, 8, false>(args); }
KERNEL(attention_by_distance_32, AttentionArguments, 128) { attend<32, 32, true>(args); }
KERNEL(attention_by_distance_64, AttentionArguments, 128) { attend<64, 32, true>(args); }
KERNEL(attention_by_distance_128, AttentionArguments, 128) { attend<128, 32, true>(args); }
