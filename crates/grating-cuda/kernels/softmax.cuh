// The steps of softmax attention that its kernels share.
#pragma once
#include "arguments.cuh"

// In place of the product with a key that a query does not see.
const float UNSEEN = -LARGEST;

// Between -cap and cap; cap tanh(x / cap) by one exponential.
CALLED float capped(float x, float cap) { return cap - 2.0f * cap / (expf(2.0f * x / cap) + 1.0f); }

// A product of query and key as the softmax takes it.
DEVICE float scaled(const AttentionArguments& args, float product) {
    const float x = product * args.scale;
    return args.softcap > 0.0f ? capped(x, args.softcap) : x;
}

// Of a query, over the keys so far.
struct Running {
    // The largest product.
    float most;
    // The sum of the weights.
    float total;
};

// Makes weights of products with some more keys, of which LANES neighbours in a warp have COUNT each; returns the factor
// by which what was summed so far is to be multiplied: 1 to the bit where no key is seen.
template <int COUNT, int LANES>
DEVICE float weigh(Running& row, float (&s)[COUNT]) {
    float top = UNSEEN, sum = 0.0f;
#pragma unroll
    for (int i = 0; i < COUNT; i++) top = fmaxf(top, s[i]);
#pragma unroll
    for (u32 lanes = 1; lanes < LANES; lanes *= 2) top = fmaxf(top, shuffle_xor(top, lanes));
    const float before = row.most;
    row.most = fmaxf(before, top);
    const float kept = expf(before - row.most);
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        // What is no number stays none.
        s[i] = s[i] == UNSEEN ? 0.0f : expf(s[i] - row.most);
        sum += s[i];
    }
#pragma unroll
    for (u32 lanes = 1; lanes < LANES; lanes *= 2) sum += shuffle_xor(sum, lanes);
    row.total = row.total * kept + sum;
    return kept;
}
