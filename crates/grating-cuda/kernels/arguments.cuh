// What each kernel is given, as `src/arguments.rs` lays it out. No structure has holes.
#pragma once
#include "prelude.cuh"

// One of the maps of a linear layer: weight [outs, columns], bias [outs] or null, out [rows, outs].
struct Map {
    const u8* weight;
    const u8* bias;
    float* out;
    u32 outs;
    u32 bias_format;
    // Blocks of the grid before its own.
    u32 first_block;
    u32 unused;
};

// x [rows, columns] through up to three maps whose weights are stored alike.
struct LinearArguments {
    const float* x;
    u32 rows;
    u32 columns;
    // Of a row of each weight.
    u32 row_bytes;
    u32 count;
    // Whether results are added to what is in `out`.
    u32 adds;
    // Of the weights.
    u32 format;
    Map maps[3];
};

// Softmax attention; see `attention.cuh`.
struct AttentionArguments {
    const float* q;
    const float* keys;
    const float* values;
    const float* prefix_keys;
    const float* prefix_values;
    float* out;
    // First row of each sequence, and the end of the last.
    const u32* offsets;
    // Pairs: a sequence, and which of its rows is the first of the tile.
    const u32* tiles;
    // Of distances: keys and queries [rows, heads * width] or null, and the row of each distance from `1 - longest` on.
    const float* distance_keys;
    const float* distance_queries;
    const u32* distance_rows;
    // Of each row of keys; those of the prefix are at their own number.
    const u32* positions;
    u32 prefix;
    u32 heads;
    u32 kv_heads;
    u32 width;
    u32 causal;
    // Largest distance of positions that is seen; NO_WINDOW where all are.
    u32 window;
    float scale;
    // 0 where there is none.
    float softcap;
    // 0: every row asks; 1: the first of each sequence; 2: the last.
    u32 scored;
    // One more than the highest position.
    u32 longest;
    // Of what is told over the heads: the largest, or else the mean.
    u32 largest;
    u32 unused;
};

// Norms of groups of `width` elements, one after the other.
struct NormArguments {
    const float* x;
    float* out;
    const u8* weight;
    const u8* bias;
    u32 weight_format;
    u32 bias_format;
    u32 groups;
    u32 width;
    float eps;
    // Added to each element of the weight.
    float added;
};

// Element by element: out from x and y.
struct PointwiseArguments {
    const float* x;
    const float* y;
    float* out;
    u64 count;
    u32 activation;
    float factor;
};

// Rows of x [.., columns] to out, which ones and how is the kernel's matter.
struct RowsArguments {
    const float* x;
    float* out;
    const u32* index;
    u32 rows;
    u32 columns;
    // Columns of a head.
    u32 width;
    u32 unused;
};

// Rotary embedding of x [rows, columns] in place.
struct RopeArguments {
    float* x;
    const float* cosines;
    const float* sines;
    const u32* positions;
    u32 rows;
    u32 columns;
    // Half of a head's columns.
    u32 half_width;
    u32 unused;
};
