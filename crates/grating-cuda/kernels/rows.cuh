// Norms, rotary embeddings, and what is done row by row or element by element.
#pragma once
#include "arguments.cuh"
#include "elements.cuh"

// One divided by the root of what must be finite: of what is not, not a number, so that no row becomes zeros in silence.
CALLED float inverse_root(float x) { return x <= 3.402823466e38f ? 1.0f / sqrtf(x) : x - x; }

// A warp for each group of elements, four in a block.
KERNEL(rms_norm, NormArguments, 128) {
    const u32 group = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (group >= args.groups) return;
    const u64 first = (u64)group * args.width;
    float squares = 0.0f;
    for (u32 i = lane; i < args.width; i += 32) {
        const float x = element_at(args.x, args.x_format, first + i);
        squares += x * x;
    }
    const float scale = inverse_root(warp_sum(squares) / (float)args.width + args.eps);
    for (u32 i = lane; i < args.width; i += 32) {
        const float weight = vector_at(args.weight, args.weight_format, i) + args.added;
        put(args.out, args.out_format, first + i, element_at(args.x, args.x_format, first + i) * scale * weight);
    }
}

KERNEL(layer_norm, NormArguments, 128) {
    const u32 group = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (group >= args.groups) return;
    const u64 first = (u64)group * args.width;
    float sum = 0.0f;
    for (u32 i = lane; i < args.width; i += 32) sum += element_at(args.x, args.x_format, first + i);
    const float mean = warp_sum(sum) / (float)args.width;
    float squares = 0.0f;
    for (u32 i = lane; i < args.width; i += 32) {
        const float x = element_at(args.x, args.x_format, first + i) - mean;
        squares += x * x;
    }
    const float scale = inverse_root(warp_sum(squares) / (float)args.width + args.eps);
    for (u32 i = lane; i < args.width; i += 32) {
        const float weight = vector_at(args.weight, args.weight_format, i) + args.added;
        const float y = (element_at(args.x, args.x_format, first + i) - mean) * scale * weight;
        put(args.out, args.out_format, first + i, args.bias ? y + vector_at(args.bias, args.bias_format, i) : y);
    }
}

// Turns columns i and i + half_width of a head, whose numbers are `low` and `high`.
DEVICE void turn(const RopeArguments& args, u32 row, u64 at, u32 i, float low, float high) {
    const u64 angle = (u64)args.positions[row] * args.half_width + i;
    const float cosine = args.cosines[angle], sine = args.sines[angle];
    put(args.x, args.format, at, low * cosine - high * sine);
    put(args.x, args.format, at + args.half_width, high * cosine + low * sine);
}

// A thread a pair of columns.
KERNEL(rope, RopeArguments, 256) {
    const u64 pair = (u64)blockIdx.x * 256 + threadIdx.x;
    const u32 pairs = args.columns / 2;
    if (pair >= (u64)args.rows * pairs) return;
    const u32 row = (u32)(pair / pairs), within = (u32)(pair % pairs);
    const u32 head = within / args.half_width, i = within % args.half_width;
    const u64 at = (u64)row * args.columns + head * 2 * args.half_width + i;
    const float low = element_at(args.x, args.format, at);
    turn(args, row, at, i, low, element_at(args.x, args.format, at + args.half_width));
}

// A warp for each head, four in a block.
KERNEL(rms_norm_rope, RopeArguments, 128) {
    const u64 group = (u64)blockIdx.x * 4 + threadIdx.x / 32;
    const u32 lane = threadIdx.x % 32, width = 2 * args.half_width, heads = args.columns / width;
    if (group >= (u64)args.rows * heads) return;
    const u64 first = group * width;
    float squares = 0.0f;
    for (u32 i = lane; i < width; i += 32) {
        const float x = element_at(args.x, args.format, first + i);
        squares += x * x;
    }
    const float scale = inverse_root(warp_sum(squares) / (float)width + args.eps);
    for (u32 i = lane; i < args.half_width; i += 32) {
        const u32 j = i + args.half_width;
        const float low = vector_at(args.weight, args.weight_format, i) + args.added;
        const float high = vector_at(args.weight, args.weight_format, j) + args.added;
        turn(args, (u32)(group / heads), first + i, i, element_at(args.x, args.format, first + i) * scale * low,
             element_at(args.x, args.format, first + j) * scale * high);
    }
}

// Even columns of each head of `width`, then the odd ones.
KERNEL(neighbours_to_halves, RowsArguments, 256) {
    const u64 at = (u64)blockIdx.x * 256 + threadIdx.x;
    if (at >= (u64)args.rows * args.columns) return;
    const u32 half_width = args.width / 2, column = (u32)(at % args.width);
    const u32 from = column < half_width ? 2 * column : 2 * (column - half_width) + 1;
    put(args.out, args.format, at, element_at(args.x, args.format, at - column + from));
}

// The rows of an index.
KERNEL(gather_rows, RowsArguments, 256) {
    const u64 at = (u64)blockIdx.x * 256 + threadIdx.x;
    if (at >= (u64)args.rows * args.columns) return;
    const u32 row = (u32)(at / args.columns), column = (u32)(at % args.columns);
    put(args.out, args.format, at, element_at(args.x, args.format, (u64)args.index[row] * args.columns + column));
}

// The mean of each sequence's rows; the index has the sequences' first rows and the end of the last.
KERNEL(mean_rows, RowsArguments, 256) {
    const u32 column = blockIdx.x * 256 + threadIdx.x, sequence = blockIdx.y;
    if (column >= args.columns) return;
    const u32 begin = args.index[sequence], end = args.index[sequence + 1];
    // Compensated, so that a long text's mean is as good as a short one's.
    float sum = 0.0f, lost = 0.0f;
    for (u32 row = begin; row < end; row++) {
        const float x = element_at(args.x, args.format, (u64)row * args.columns + column);
        const float y = x - lost, next = sum + y;
        lost = (next - sum) - y;
        sum = next;
    }
    put(args.out, args.format, (u64)sequence * args.columns + column, sum / (float)(end - begin));
}

#define POINTWISE(name, expression)                                       \
    KERNEL(name, PointwiseArguments, 256) {                               \
        const u64 at = ((u64)blockIdx.x * 256 + threadIdx.x) * 4;         \
        for (u64 i = at; i < at + 4 && i < args.count; i++) {             \
            const float x = element_at(args.x, args.x_format, i);         \
            put(args.out, args.out_format, i, (expression));              \
        }                                                                 \
    }

POINTWISE(add, x + element_at(args.y, args.y_format, i))
POINTWISE(scale, args.factor * x)
POINTWISE(activate, activated(args.activation, x))
POINTWISE(gate, activated(args.activation, x) * element_at(args.y, args.y_format, i))
// From one format to another.
POINTWISE(convert, x)
