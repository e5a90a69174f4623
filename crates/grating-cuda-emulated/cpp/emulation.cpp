// The scheduler of an emulated device's blocks, warps and fibers, and the kernels themselves.
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "kernels.cu"

namespace emulated {

namespace {

constexpr unsigned LANES = 32, MOST_THREADS = 256;
constexpr size_t STACK_BYTES = 64 << 10;

enum class Waits { nothing, for_warp, for_block, finished };

struct Fiber {
    void* stack_pointer;
    Waits waits;
    // Which side of the warp's exchange the next operation uses.
    unsigned side;
};

struct Kernel {
    size_t argument_bytes;
    unsigned threads;
    Entry entry;
};

std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

Fiber fibers[MOST_THREADS];
alignas(64) unsigned char stacks[MOST_THREADS][STACK_BYTES];
alignas(64) unsigned char block_memory[SHARED_BYTES];
// What the lanes of each warp show each other; two sides, so that one barrier an exchange is enough.
unsigned shown[MOST_THREADS / LANES][2][LANES][6];
unsigned current;
void* scheduler;
Entry entry;
const void* arguments;
std::string fault;
// Of the block's memory, what was handed out since it was poisoned; and whether lanes have shown each other anything.
size_t handed_out = SHARED_BYTES;
bool has_shown = true;

#if defined(__x86_64__)
// What a function must keep by the System V ABI; mxcsr and the x87 control word are never changed here.
asm(R"(
.text
.globl grating_emulated_switch
grating_emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
constexpr size_t SAVED_WORDS = 6;
#elif defined(__aarch64__)
asm(R"(
.text
.globl grating_emulated_switch
grating_emulated_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x2, sp
    str x2, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
)");
#else
#error "fibers are written for x86-64 and AArch64"
#endif

extern "C" void switch_stacks(void** save, void* load) asm("grating_emulated_switch");

void select(unsigned index) {
    current = index;
    thread = {index, 0, 0};
}

void yield(Waits waits) {
    Fiber& fiber = fibers[current];
    fiber.waits = waits;
    switch_stacks(&fiber.stack_pointer, scheduler);
}

extern "C" void grating_emulated_fiber() {
    for (;;) {
        entry(arguments);
        yield(Waits::finished);
    }
}

void prepare(Fiber& fiber, unsigned char* stack) {
    void** top = (void**)(stack + STACK_BYTES - 64);
#if defined(__x86_64__)
    // As if called: the return address is the fiber's beginning, at which the stack is aligned to 16 less 8.
    *--top = nullptr;
    *--top = (void*)grating_emulated_fiber;
    for (size_t i = 0; i < SAVED_WORDS; i++) *--top = nullptr;
#else
    top -= 20;
    for (size_t i = 0; i < 20; i++) top[i] = nullptr;
    top[11] = (void*)grating_emulated_fiber;
#endif
    fiber = {top, Waits::nothing, 0};
}

void resume(unsigned index) {
    select(index);
    fibers[index].waits = Waits::nothing;
    switch_stacks(&scheduler, fibers[index].stack_pointer);
}

// Runs a warp until all of its lanes wait for the block or have finished. False where they wait for different things.
bool run_warp(unsigned first, unsigned end) {
    for (;;) {
        unsigned for_warp = 0, for_block = 0;
        for (unsigned lane = first; lane < end; lane++) {
            if (fibers[lane].waits != Waits::finished && fibers[lane].waits != Waits::for_block) resume(lane);
            for_warp += fibers[lane].waits == Waits::for_warp;
            for_block += fibers[lane].waits == Waits::for_block;
        }
        if (for_warp == 0) return true;
        // Lanes that have finished are not waited for; those at a barrier of the block never come.
        if (for_block > 0) return false;
        if (for_warp < end - first && end - first == LANES && for_warp != LANES) return false;
    }
}

bool run_block(unsigned threads, bool backwards) {
    const unsigned warps = (threads + LANES - 1) / LANES;
    for (unsigned i = 0; i < threads; i++) fibers[i].waits = Waits::nothing, fibers[i].side = 0;
    memset(block_memory, 0xff, handed_out);
    handed_out = 0;
    if (has_shown) memset(shown, 0xff, sizeof shown);
    has_shown = false;
    for (;;) {
        unsigned waiting = 0;
        for (unsigned i = 0; i < warps; i++) {
            const unsigned first = (backwards ? warps - 1 - i : i) * LANES;
            const unsigned end = first + LANES < threads ? first + LANES : threads;
            if (!run_warp(first, end)) {
                fault = "lanes of a warp wait at different barriers";
                return false;
            }
        }
        for (unsigned i = 0; i < threads; i++) waiting += fibers[i].waits == Waits::for_block;
        if (waiting == 0) return true;
        for (unsigned i = 0; i < threads; i++)
            if (fibers[i].waits == Waits::for_block) fibers[i].waits = Waits::nothing;
    }
}

}  // namespace

Index thread, block;

void* shared_memory(size_t bytes) {
    if (bytes > SHARED_BYTES) {
        fprintf(stderr, "a kernel shares %zu bytes, a block has %zu\n", bytes, SHARED_BYTES);
        abort();
    }
    if (bytes > handed_out) handed_out = bytes;
    return block_memory;
}

void barrier_of_warp() { yield(Waits::for_warp); }
void barrier_of_block() { yield(Waits::for_block); }

unsigned exchange(unsigned value, unsigned lanes) {
    const unsigned index = current, side = fibers[index].side ^= 1;
    auto& all = shown[index / LANES][side];
    has_shown = true;
    all[index % LANES][0] = value;
    yield(Waits::for_warp);
    return all[(index ^ lanes) % LANES][0];
}

void product(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    const unsigned index = current, side = fibers[index].side ^= 1;
    auto& all = shown[index / LANES][side];
    unsigned(&own)[6] = all[index % LANES];
    has_shown = true;
    for (int i = 0; i < 4; i++) own[i] = a[i];
    for (int i = 0; i < 2; i++) own[4 + i] = b[i];
    yield(Waits::for_warp);
    const unsigned group = index % LANES / 4, lane = index % 4;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = i / 2, column = lane * 2 + i % 2;
        double sum = 0.0;
        for (unsigned k = 0; k < 16; k++) {
            const unsigned holder = k % 8 / 2, upper = k / 8, shift = k % 2 * 16;
            const unsigned x = all[group * 4 + holder][row + 2 * upper] >> shift & 0xffff;
            const unsigned w = all[column * 4 + holder][4 + upper] >> shift & 0xffff;
            sum += (double)bits_to_f32(x << 16) * (double)bits_to_f32(w << 16);
        }
        d[i] = (float)((double)d[i] + sum);
    }
}

Registration::Registration(const char* name, size_t argument_bytes, unsigned threads, Entry entry) {
    kernels()[name] = {argument_bytes, threads, entry};
}

}  // namespace emulated

// Whether there is a kernel of that name.
extern "C" int grating_emulated_has(const char* name) {
    return emulated::kernels().count(name) > 0;
}

// Runs a kernel's grid, block after block; null, or what was wrong. One call at a time.
extern "C" const char* grating_emulated_launch(
    const char* name, unsigned x, unsigned y, unsigned z, unsigned threads, const void* arguments, size_t bytes,
    int backwards) {
    using namespace emulated;
    const auto found = kernels().find(name);
    if (found == kernels().end()) return "there is no such kernel";
    const Kernel& kernel = found->second;
    if (kernel.argument_bytes != bytes) return "its arguments have another size";
    if (kernel.threads != threads || threads > MOST_THREADS) return "it is written for another number of threads";
    emulated::entry = kernel.entry;
    emulated::arguments = arguments;
    for (unsigned i = 0; i < threads; i++) prepare(fibers[i], stacks[i]);
    const unsigned blocks = x * y * z;
    for (unsigned i = 0; i < blocks; i++) {
        const unsigned at = backwards ? blocks - 1 - i : i;
        block = {at % x, at / x % y, at / x / y};
        if (!run_block(threads, backwards)) return fault.c_str();
    }
    return nullptr;
}
