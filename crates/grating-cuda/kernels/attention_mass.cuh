// How much attention the scored token of each sequence pays to each of the sequence's own rows, put together over the
// heads: a sequence a block, whose threads take keys in turn.
#pragma once
#include "attention.cuh"

struct MassParts {
    float of_warps[4];
};

// The sum of all threads' numbers, or the largest.
DEVICE float over_block(MassParts& parts, float x, bool largest) {
#pragma unroll
    for (u32 lanes = 16; lanes > 0; lanes /= 2) {
        const float other = shuffle_xor(x, lanes);
        x = largest ? fmaxf(x, other) : x + other;
    }
    sync_block();
    if (threadIdx.x % 32 == 0) parts.of_warps[threadIdx.x / 32] = x;
    sync_block();
    const float *w = parts.of_warps;
    return largest ? fmaxf(fmaxf(w[0], w[1]), fmaxf(w[2], w[3])) : (w[0] + w[1]) + (w[2] + w[3]);
}

// Before the softmax, of a key that is seen.
DEVICE float scaled_product(const AttentionArguments& args, const Sequence& sequence, const float* q, u32 head, u32 query,
                            u32 key) {
    const u32 stride = args.heads * args.width, kv_stride = args.kv_heads * args.width;
    const u32 kv_columns = head / (args.heads / args.kv_heads) * args.width;
    const float* k = key < sequence.prefix
        ? args.prefix_keys + (u64)key * kv_stride + kv_columns
        : args.keys + (u64)(sequence.first + key - sequence.prefix) * kv_stride + kv_columns;
    float x = dot(q, k, args.width);
    if (args.distance_rows) {
        const u32 at = position_of(args, sequence, query) + args.longest - 1;
        const u64 row = args.distance_rows[at - position_of(args, sequence, key)];
        const u64 from = row * stride + head * args.width;
        if (args.distance_keys) x += dot(q, args.distance_keys + from, args.width);
        if (args.distance_queries) x += dot(k, args.distance_queries + from, args.width);
    }
    x *= args.scale;
    return args.softcap > 0.0f ? capped(x, args.softcap) : x;
}

KERNEL(attention_mass, AttentionArguments, 128) {
    SHARED(MassParts, parts);
    const Asked asked = asked_of(args, 1);
    const Sequence& sequence = asked.sequence;
    const u32 query = args.prefix + asked.place, kv_stride = args.kv_heads * args.width;
    for (u32 head = 0; head < args.heads; head++) {
        const float* q = args.q + ((u64)asked.q_row * args.heads + head) * args.width;
        float most = -LARGEST, total = 0.0f;
        for (u32 key = threadIdx.x; key < sequence.tokens; key += 128)
            if (sees(args, sequence, query, key))
                most = fmaxf(most, scaled_product(args, sequence, q, head, query, key));
        most = over_block(parts, most, true);
        for (u32 key = threadIdx.x; key < sequence.tokens; key += 128)
            if (sees(args, sequence, query, key))
                total += expf(scaled_product(args, sequence, q, head, query, key) - most);
        total = over_block(parts, total, false);
        // The same thread has a key with every head.
        for (u32 key = threadIdx.x; key < sequence.tokens; key += 128) {
            if (key < sequence.prefix) continue;
            const u32 row = sequence.first + key - sequence.prefix;
            float paid = 0.0f;
            if (sees(args, sequence, query, key))
                paid = expf(scaled_product(args, sequence, q, head, query, key) - most) / total;
            if (args.values) {
                const float* v = args.values + (u64)row * kv_stride + head / (args.heads / args.kv_heads) * args.width;
                paid *= sqrtf(dot(v, v, args.width));
            }
            const float before = head > 0 ? args.out[row] : 0.0f;
            float now = args.largest ? fmaxf(before, paid) : before + paid;
            if (head + 1 == args.heads && !args.largest) now /= (float)args.heads;
            args.out[row] = now;
        }
    }
}
