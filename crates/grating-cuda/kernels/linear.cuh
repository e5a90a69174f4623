// Linear layers: tiles of inputs and of weights, decoded on their way to shared memory. The sum of an element goes over
// the columns in the same order whatever the tile and however many rows there are.
#pragma once
#include "arguments.cuh"
#include "elements.cuh"

// Columns of a tile: a block of the formats that store 32 elements together.
const u32 DEPTH = 32;

DEVICE const Map& map_of(const LinearArguments& args, u32 block) {
    u32 at = 0;
    if (args.count > 1 && block >= args.maps[1].first_block) at = 1;
    if (args.count > 2 && block >= args.maps[2].first_block) at = 2;
    return args.maps[at];
}

DEVICE float bias_of(const Map& map, u32 column) {
    return map.bias && column < map.outs ? vector_at(map.bias, map.bias_format, column) : 0.0f;
}

// A row of a weight, and how many columns of it there are: none past the last row.
struct WeightRow {
    const u8* at;
    u32 columns;
};

// The row that a column of a tile is the product with. Where the second map gates the first, a tile has WIDE columns of
// the one and WIDE of the other in turn.
template <int WIDE>
DEVICE WeightRow weight_row(const LinearArguments& args, const Map& map, u32 first_column, u32 column) {
    const u8* weight = map.weight;
    u32 row = first_column + column;
    if (args.gated) {
        if (column / WIDE % 2 == 1) weight = args.maps[1].weight;
        row = first_column / 2 + column / (2 * WIDE) * WIDE + column % WIDE;
    }
    return {weight + (u64)row * args.row_bytes, row < map.outs ? args.columns : 0};
}

DEVICE void store(const LinearArguments& args, const Map& map, u32 row, u32 column, float x) {
    const u64 at = (u64)row * map.outs + column;
    put(map.out, map.out_format, at, args.adds ? ((float*)map.out)[at] + x : x);
}

// What becomes of a product with a column: biased, activated, gated with that of the second map.
DEVICE float finished(const LinearArguments& args, const Map& map, u32 column, float product, float second) {
    float x = product + bias_of(map, column);
    if (args.activation != NO_ACTIVATION) x = activated(args.activation, x);
    return args.gated ? x * (second + bias_of(args.maps[1], column)) : x;
}

// Stores sums that a block shares, rows of `stage`; `row_of` says which row of the output each is. Neighbours in a warp
// store neighbours.
template <int WIDE, int ROWS, int COLUMNS, int THREADS, int STRIDE, class RowOf>
DEVICE void store_all(const LinearArguments& args, const Map& map, const float (*stage)[STRIDE], u32 first_column,
                      RowOf row_of) {
    const u32 outs = args.gated ? COLUMNS / 2 : COLUMNS, first = args.gated ? first_column / 2 : first_column;
#pragma unroll 1
    for (u32 at = threadIdx.x; at < ROWS * outs; at += THREADS) {
        const u32 row = row_of(at / outs), out = at % outs, column = first + out;
        if (row >= args.rows || column >= map.outs) continue;
        const float* of = stage[at / outs] + (args.gated ? out / WIDE * 2 * WIDE + out % WIDE : out);
        store(args, map, row, column, finished(args, map, column, of[0], args.gated ? of[WIDE] : 0.0f));
    }
}

struct FullTiles {
    float x[DEPTH][65];
    float w[DEPTH][65];
};

static_assert(sizeof(FullTiles) == sizeof(float[64][65]), "sums have no room where tiles were");

// Products in f32 with inputs that are f32. 64 rows by 64 columns of the output, 256 threads of 4 by 4.
template <int F>
DEVICE void linear_full(const LinearArguments& args) {
    SHARED(FullTiles, tiles);
    const Map& map = map_of(args, blockIdx.x);
    const u32 first_row = blockIdx.y * 64, first_column = (blockIdx.x - map.first_block) * 64;
    const u32 thread = threadIdx.x, tx = thread % 16, ty = thread / 16;
    const u32 loads = thread / 4, part = thread % 4 * 8;
    const u8* x_row = args.x + (u64)(first_row + loads) * args.columns * sizeof(float);
    const u32 x_columns = first_row + loads < args.rows ? args.columns : 0;
    const WeightRow w_row = weight_row<16>(args, map, first_column, loads);
    float sums[4][4] = {};
    for (u32 k = 0; k < args.columns; k += DEPTH) {
        float x[8], w[8];
        decode8<F32>(x_row, k + part, x_columns, x);
        decode8<F>(w_row.at, k + part, w_row.columns, w);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            tiles.x[part + i][loads] = x[i];
            tiles.w[part + i][loads] = w[i];
        }
        sync_block();
#pragma unroll 4
        for (u32 i = 0; i < DEPTH; i++) {
            float a[4], b[4];
#pragma unroll
            for (int r = 0; r < 4; r++) a[r] = tiles.x[i][ty + 16 * r];
#pragma unroll
            for (int c = 0; c < 4; c++) b[c] = tiles.w[i][tx + 16 * c];
#pragma unroll
            for (int r = 0; r < 4; r++)
#pragma unroll
                for (int c = 0; c < 4; c++) sums[r][c] += a[r] * b[c];
        }
        sync_block();
    }
    float(*stage)[65] = (float(*)[65]) & tiles;
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 4; c++) stage[ty + 16 * r][tx + 16 * c] = sums[r][c];
    sync_block();
    store_all<16, 64, 64, 256, 65>(args, map, stage, first_column, [&](u32 row) { return first_row + row; });
}

// Pairs of bf16; 20 words a row, so that the eight rows of a fragment lie in banks of their own.
template <int ROWS, int COLUMNS>
struct RoundedTiles {
    u32 x[2][ROWS][20];
    u32 w[2][COLUMNS][20];
};

DEVICE uint4 packed8(const float (&x)[8]) {
    uint4 all;
    all.x = pack_bf16(x[0], x[1]), all.y = pack_bf16(x[2], x[3]);
    all.z = pack_bf16(x[4], x[5]), all.w = pack_bf16(x[6], x[7]);
    return all;
}

// Elements `k`.. of row `row` of x.
DEVICE uint4 rounded_inputs8(const LinearArguments& args, u32 row, u32 k) {
    if (row >= args.rows || k >= args.columns) return {0, 0, 0, 0};
    const u64 first = (u64)row * args.columns + k;
    if (args.x_format == BF16) return *(const uint4*)((const u16*)args.x + first);
    float eight[8];
    decode8<F32>(args.x + first * sizeof(float), 0, 8, eight);
    return packed8(eight);
}

// Products of bf16, rounded from what is stored, with sums in f32: tensor cores. ROWS by COLUMNS of the output, DOWN by
// ACROSS warps. The next tile is on its way to registers while this one is computed.
template <int F, int ROWS, int COLUMNS, int DOWN, int ACROSS>
DEVICE void linear_rounded(const LinearArguments& args) {
    constexpr int THREADS = 32 * DOWN * ACROSS;
    constexpr int HIGH = ROWS / DOWN / 16, WIDE = COLUMNS / ACROSS / 8;
    constexpr int X_RUNS = ROWS * 4 / THREADS, W_RUNS = COLUMNS * 4 / THREADS;
    typedef RoundedTiles<ROWS, COLUMNS> Tiles;
    SHARED(Tiles, tiles);
    const Map& map = map_of(args, blockIdx.x);
    const u32 first_row = blockIdx.y * ROWS, first_column = (blockIdx.x - map.first_block) * COLUMNS;
    const u32 thread = threadIdx.x, warp = thread / 32, group = thread % 32 / 4, lane = thread % 4;
    const u32 warp_row = warp / ACROSS * (ROWS / DOWN), warp_column = warp % ACROSS * (COLUMNS / ACROSS);
    // The same for all lanes of a warp.
    const u32 first_out = args.gated ? (first_column + warp_column) / 2 : first_column + warp_column;
    const bool idle = first_row + warp_row >= args.rows || first_out >= map.outs;
    float sums[HIGH][WIDE][4] = {};
    uint4 x[X_RUNS], w[W_RUNS];

    WeightRow w_rows[W_RUNS];
#pragma unroll
    for (int i = 0; i < W_RUNS; i++)
        w_rows[i] = weight_row<8>(args, map, first_column, (thread + i * THREADS) / 4);

    auto load = [&](u32 k) {
        float eight[8];
#pragma unroll
        for (int i = 0; i < X_RUNS; i++) {
            const u32 run = thread + i * THREADS;
            x[i] = rounded_inputs8(args, first_row + run / 4, k + run % 4 * 8);
        }
#pragma unroll
        for (int i = 0; i < W_RUNS; i++) {
            const u32 run = thread + i * THREADS;
            decode8<F>(w_rows[i].at, k + run % 4 * 8, w_rows[i].columns, eight);
            w[i] = packed8(eight);
        }
    };
    load(0);
    for (u32 k = 0, side = 0; k < args.columns; k += DEPTH, side ^= 1) {
#pragma unroll
        for (int i = 0; i < X_RUNS; i++) {
            const u32 run = thread + i * THREADS;
            *(uint4*)&tiles.x[side][run / 4][run % 4 * 4] = x[i];
        }
#pragma unroll
        for (int i = 0; i < W_RUNS; i++) {
            const u32 run = thread + i * THREADS;
            *(uint4*)&tiles.w[side][run / 4][run % 4 * 4] = w[i];
        }
        // Who is past this has read the other side: one barrier a tile is enough.
        sync_block();
        if (k + DEPTH < args.columns) load(k + DEPTH);
        if (idle) continue;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            u32 a[HIGH][4], b[WIDE][2];
            const u32 at = half * 8 + lane;
#pragma unroll
            for (int r = 0; r < HIGH; r++) {
                const u32 row = warp_row + r * 16 + group;
                a[r][0] = tiles.x[side][row][at], a[r][1] = tiles.x[side][row + 8][at];
                a[r][2] = tiles.x[side][row][at + 4], a[r][3] = tiles.x[side][row + 8][at + 4];
            }
#pragma unroll
            for (int c = 0; c < WIDE; c++) {
                const u32 column = warp_column + c * 8 + group;
                b[c][0] = tiles.w[side][column][at], b[c][1] = tiles.w[side][column][at + 4];
            }
#pragma unroll
            for (int r = 0; r < HIGH; r++)
#pragma unroll
                for (int c = 0; c < WIDE; c++) mma_16x8x16(sums[r][c], a[r], b[c]);
        }
    }
    // Sums of 16 rows of each warp at a time, where the tiles were.
    constexpr int STRIDE = COLUMNS + 4;
    static_assert(sizeof(float[16 * DOWN][STRIDE]) <= sizeof(Tiles), "sums have no room where tiles were");
    float(*stage)[STRIDE] = (float(*)[STRIDE]) & tiles;
#pragma unroll
    for (int r = 0; r < HIGH; r++) {
        sync_block();
#pragma unroll
        for (int c = 0; c < WIDE; c++) {
            float* low = &stage[warp / ACROSS * 16 + group][warp_column + c * 8 + lane * 2];
            float* high = low + 8 * STRIDE;
            low[0] = sums[r][c][0], low[1] = sums[r][c][1];
            high[0] = sums[r][c][2], high[1] = sums[r][c][3];
        }
        sync_block();
        store_all<8, 16 * DOWN, COLUMNS, THREADS, STRIDE>(args, map, stage, first_column, [&](u32 row) {
            return first_row + row / 16 * (ROWS / DOWN) + r * 16 + row % 16;
        });
    }
}

// Weights whose rows are no multiple of eight columns, in one of the plain formats: a thread for each element.
template <bool ROUNDS>
DEVICE void linear_any(const LinearArguments& args) {
    const Map& map = map_of(args, blockIdx.x);
    const u32 column = (blockIdx.x - map.first_block) * 64 + threadIdx.x % 64;
    const u32 row = blockIdx.y * 4 + threadIdx.x / 64;
    if (row >= args.rows || column >= map.outs) return;
    float sums[2] = {0.0f, 0.0f};
    for (u32 at = 0; at < (args.gated ? 2 : 1); at++) {
        const u8* weight = (at == 1 ? args.maps[1].weight : map.weight) + (u64)column * args.row_bytes;
        for (u32 k = 0; k < args.columns; k++) {
            const float a = element_at(args.x, args.x_format, (u64)row * args.columns + k);
            const float b = vector_at(weight, args.format, k);
            const u32 pair = pack_bf16(a, b);
            sums[at] += ROUNDS ? bf16_to_f32(pair & 0xffff) * bf16_to_f32(pair >> 16) : a * b;
        }
    }
    store(args, map, row, column, finished(args, map, column, sums[0], sums[1]));
}

KERNEL(linear_any_full, LinearArguments, 256) { linear_any<false>(args); }
KERNEL(linear_any_rounded, LinearArguments, 256) { linear_any<true>(args); }

#define LINEAR(format, F)                                                                                  \
    KERNEL(linear_full_##format, LinearArguments, 256) { linear_full<F>(args); }                           \
    KERNEL(linear_rounded_##format, LinearArguments, 128) { linear_rounded<F, 64, 64, 2, 2>(args); }

LINEAR(f32, F32)
LINEAR(f16, F16)
LINEAR(bf16, BF16)
LINEAR(q8_0, Q8_0)
LINEAR(q4_0, Q4_0)
LINEAR(q4_1, Q4_1)
LINEAR(q5_0, Q5_0)
LINEAR(q5_1, Q5_1)
LINEAR(q4k, Q4K)
LINEAR(q5k, Q5K)
LINEAR(q6k, Q6K)

// Many rows: each weight is decoded half as often. For the formats that checkpoints come in most.
#define LINEAR_WIDE(format, F) \
    KERNEL(linear_wide_##format, LinearArguments, 256) { linear_rounded<F, 128, 128, 2, 4>(args); }

LINEAR_WIDE(f16, F16)
LINEAR_WIDE(bf16, BF16)
LINEAR_WIDE(q8_0, Q8_0)
LINEAR_WIDE(q4k, Q4K)
