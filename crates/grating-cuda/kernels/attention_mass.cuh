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
DEVICE float scaled_product(const AttentionArguments& args, const Sequence& sequence, const u8* q, u32 head, u32 query,
                            u32 key) {
    u64 first;
    const u32 format = args.key_format;
    const Rows keys = keys_of(args, head / (args.heads / args.kv_heads) * args.width);
    const u8* k = tensor_of(keys, sequence, key, first);
    k = place_of(k, format, first);
    float x = dot(q, args.q_format, k, format, args.width);
    if (args.distance_rows) x = with_distance(args, sequence, x, head, query, key, q, args.q_format, k, format);
    return scaled(args, x);
}

KERNEL(attention_mass, AttentionArguments, 128) {
    SHARED(MassParts, parts);
    const Asked asked = asked_of(args, 1);
    const Sequence& sequence = asked.sequence;
    const u32 query = args.prefix + asked.place;
    for (u32 head = 0; head < args.heads; head++) {
        const u8* q = place_of(args.q, args.q_format, ((u64)asked.q_row * args.heads + head) * args.width);
        float most = UNSEEN, total = 0.0f;
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
                const u32 format = args.value_format, kv_head = head / (args.heads / args.kv_heads);
                const u8* v = place_of(args.values, format, ((u64)row * args.kv_heads + kv_head) * args.width);
                paid *= sqrtf(dot(v, format, v, format, args.width));
            }
            float* out = (float*)args.out + row;
            const float before = head > 0 ? *out : 0.0f;
            float now = args.largest ? fmaxf(before, paid) : before + paid;
            if (head + 1 == args.heads && !args.largest) now /= (float)args.heads;
            *out = now;
        }
    }
}
