// Norms, rotary embeddings, and what is done row by row or element by element.
#pragma once
#include "arguments.cuh"
#include "formats.cuh"

// A warp for each group of elements, four in a block.
KERNEL(rms_norm, NormArguments, 128) {
    const u32 group = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (group >= args.groups) return;
    const float* x = args.x + (u64)group * args.width;
    float* out = args.out + (u64)group * args.width;
    float squares = 0.0f;
    for (u32 i = lane; i < args.width; i += 32) squares += x[i] * x[i];
    const float scale = 1.0f / sqrtf(warp_sum(squares) / (float)args.width + args.eps);
    for (u32 i = lane; i < args.width; i += 32)
        out[i] = x[i] * scale * (vector_at(args.weight, args.weight_format, i) + args.added);
}

KERNEL(layer_norm, NormArguments, 128) {
    const u32 group = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (group >= args.groups) return;
    const float* x = args.x + (u64)group * args.width;
    float* out = args.out + (u64)group * args.width;
    float sum = 0.0f;
    for (u32 i = lane; i < args.width; i += 32) sum += x[i];
    const float mean = warp_sum(sum) / (float)args.width;
    float squares = 0.0f;
    for (u32 i = lane; i < args.width; i += 32) squares += (x[i] - mean) * (x[i] - mean);
    const float scale = 1.0f / sqrtf(warp_sum(squares) / (float)args.width + args.eps);
    for (u32 i = lane; i < args.width; i += 32) {
        const float y = (x[i] - mean) * scale * (vector_at(args.weight, args.weight_format, i) + args.added);
        out[i] = args.bias ? y + vector_at(args.bias, args.bias_format, i) : y;
    }
}

// Pairs column i of a head with column i + half_width, a thread a pair.
KERNEL(rope, RopeArguments, 256) {
    const u64 pair = (u64)blockIdx.x * 256 + threadIdx.x;
    const u32 pairs = args.columns / 2;
    if (pair >= (u64)args.rows * pairs) return;
    const u32 row = (u32)(pair / pairs), within = (u32)(pair % pairs);
    const u32 head = within / args.half_width, i = within % args.half_width;
    float* low = args.x + (u64)row * args.columns + head * 2 * args.half_width + i;
    float* high = low + args.half_width;
    const u64 angle = (u64)args.positions[row] * args.half_width + i;
    const float cosine = args.cosines[angle], sine = args.sines[angle], a = *low, b = *high;
    *low = a * cosine - b * sine;
    *high = b * cosine + a * sine;
}

// Even columns of each head of `width`, then the odd ones.
KERNEL(neighbours_to_halves, RowsArguments, 256) {
    const u64 at = (u64)blockIdx.x * 256 + threadIdx.x;
    if (at >= (u64)args.rows * args.columns) return;
    const u32 half_width = args.width / 2, column = (u32)(at % args.width);
    const u32 from = column < half_width ? 2 * column : 2 * (column - half_width) + 1;
    args.out[at] = args.x[at - column + from];
}

// The rows of an index.
KERNEL(gather_rows, RowsArguments, 256) {
    const u64 at = (u64)blockIdx.x * 256 + threadIdx.x;
    if (at >= (u64)args.rows * args.columns) return;
    const u32 row = (u32)(at / args.columns), column = (u32)(at % args.columns);
    args.out[at] = args.x[(u64)args.index[row] * args.columns + column];
}

// The mean of each sequence's rows; the index has the sequences' first rows and the end of the last.
KERNEL(mean_rows, RowsArguments, 256) {
    const u32 column = blockIdx.x * 256 + threadIdx.x, sequence = blockIdx.y;
    if (column >= args.columns) return;
    const u32 begin = args.index[sequence], end = args.index[sequence + 1];
    // Compensated, so that a long text's mean is as good as a short one's.
    float sum = 0.0f, lost = 0.0f;
    for (u32 row = begin; row < end; row++) {
        const float y = args.x[(u64)row * args.columns + column] - lost, next = sum + y;
        lost = (next - sum) - y;
        sum = next;
    }
    args.out[(u64)sequence * args.columns + column] = sum / (float)(end - begin);
}

#define POINTWISE(name, expression)                                       \
    KERNEL(name, PointwiseArguments, 256) {                               \
        const u64 at = ((u64)blockIdx.x * 256 + threadIdx.x) * 4;         \
        for (u64 i = at; i < at + 4 && i < args.count; i++) {             \
            const float x = args.x[i];                                    \
            args.out[i] = (expression);                                   \
        }                                                                 \
    }

POINTWISE(add, x + args.y[i])
POINTWISE(scale, args.factor * x)
POINTWISE(activate, activated(args.activation, x))
POINTWISE(gate, activated(args.activation, x) * args.y[i])
