// What each kernel is given, as `src/arguments.rs` lays it out. No structure has holes. Tensors of activations come with
// the format of their elements, F32 or BF16.
#pragma once
#include "prelude.cuh"

// One of the maps of a linear layer: weight [outs, columns], bias [outs] or null, out [rows, outs].
struct Map {
    const u8* weight;
    const u8* bias;
    u8* out;
    u32 outs;
    u32 bias_format;
    // Blocks of the grid before its own.
    u32 first_block;
    u32 out_format;
};

// x [rows, columns] through up to three maps whose weights are stored alike.
struct LinearArguments {
    const u8* x;
    u32 rows;
    u32 columns;
    // Of a row of each weight.
    u32 row_bytes;
    u32 count;
    // Whether results are added to what is in `out`, of F32.
    u32 adds;
    // Of the weights.
    u32 format;
    u32 x_format;
    // Whether the activation of the first map is multiplied by the second: of both together the first has the output.
    u32 gated;
    // Of results, or of the gate; NO_ACTIVATION where there is none.
    u32 activation;
    u32 unused;
    Map maps[3];
};

// Softmax attention; see `attention.cuh`.
struct AttentionArguments {
    const u8* q;
    const u8* keys;
    const u8* values;
    const u8* prefix_keys;
    const u8* prefix_values;
    u8* out;
    // First row of each sequence, and the end of the last.
    const u32* offsets;
    // Pairs: a sequence, and which of its rows is the first of the tile.
    const u32* tiles;
    // Of distances: keys and queries [rows, heads * width] or null, and the row of each distance from `1 - longest` on.
    const u8* distance_keys;
    const u8* distance_queries;
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
    u32 q_format;
    // Of keys, those of the prefix among them.
    u32 key_format;
    u32 value_format;
    u32 distance_format;
    u32 out_format;
};

// Norms of groups of `width` elements, one after the other.
struct NormArguments {
    const u8* x;
    u8* out;
    const u8* weight;
    const u8* bias;
    u32 weight_format;
    u32 bias_format;
    u32 groups;
    u32 width;
    float eps;
    // Added to each element of the weight.
    float added;
    u32 x_format;
    u32 out_format;
};

// Element by element: out from x and y.
struct PointwiseArguments {
    const u8* x;
    const u8* y;
    u8* out;
    u64 count;
    u32 activation;
    float factor;
    u32 x_format;
    u32 y_format;
    u32 out_format;
    u32 unused;
};

// Rows of x [.., columns] to out, which ones and how is the kernel's matter.
struct RowsArguments {
    const u8* x;
    u8* out;
    const u32* index;
    u32 rows;
    u32 columns;
    // Columns of a head.
    u32 width;
    // Of both.
    u32 format;
};

// Rotary embedding of x [rows, columns] in place, of heads that are normalised before where there is a weight.
struct RopeArguments {
    u8* x;
    const float* cosines;
    const float* sines;
    const u32* positions;
    const u8* weight;
    u32 weight_format;
    float eps;
    // To each element of the weight.
    float added;
    u32 rows;
    u32 columns;
    // Half of a head's columns.
    u32 half_width;
    u32 format;
    u32 unused;
};
