// The scheduler of an emulated device's blocks, warps and fibers, and the kernels themselves.
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "kernels.cu"

namespace emulated {

namespace {

constexpr unsigned LANES = 32, MOST_THREADS = 256;
// Not a power of two: what all fibers have on their stacks would lie in the same few lines of the cache.
constexpr size_t STACK_BYTES = (64 << 10) + 17 * 64;

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

// What the lanes of a warp show each other: a number each, or factors of a product, of which each is unpacked once.
struct Shown {
    unsigned numbers[LANES];
    // Rows of the first, columns of the second, as the sums take them.
    double a[16][16], b[8][16];
};

// Where a kernel's blocks run, one after the other.
struct Processor {
    alignas(64) unsigned char stacks[MOST_THREADS][STACK_BYTES];
    alignas(64) unsigned char block_memory[SHARED_BYTES];
    Fiber fibers[MOST_THREADS];
    // Two sides, so that one barrier an exchange is enough.
    Shown shown[MOST_THREADS / LANES][2];
    // The lane that runs, and past the last one of its warp.
    unsigned current, end_of_warp;
    void* scheduler;
    Entry entry;
    const void* arguments;
    // Of the block's memory, what was handed out since it was poisoned; and whether the block's lanes may find anything shown.
    size_t handed_out = SHARED_BYTES;
    bool has_shown;
};

// Of the thread that launches, while it does.
__thread Processor* processor;

// Processors that nobody has: there are as many as launches run at one time.
std::mutex free_lock;
std::vector<Processor*> free_processors;

Processor* take_processor() {
    std::lock_guard<std::mutex> lock(free_lock);
    if (free_processors.empty()) return new Processor;
    Processor* taken = free_processors.back();
    free_processors.pop_back();
    return taken;
}

void give_back(Processor* taken) {
    std::lock_guard<std::mutex> lock(free_lock);
    free_processors.push_back(taken);
}

#if defined(__x86_64__)
// What a function must keep by the System V ABI; mxcsr and the x87 control word are never changed here. It jumps where it
// would return: processors guess where a return leads by the calls before it, and there are none of this stack.
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
    popq %rcx
    jmpq *%rcx
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
    processor->current = index;
    thread = {index, 0, 0};
}

// Whether a lane runs before the others of its warp have come to where it is.
bool goes_on(const Fiber& lane) { return lane.waits != Waits::finished && lane.waits != Waits::for_block; }

// From one lane to the next that goes on, or to the scheduler where that was the last.
void yield(Waits waits) {
    Processor& of = *processor;
    Fiber& own = of.fibers[of.current];
    own.waits = waits;
    for (unsigned lane = of.current + 1; lane < of.end_of_warp; lane++)
        if (goes_on(of.fibers[lane])) {
            select(lane);
            return switch_stacks(&own.stack_pointer, of.fibers[lane].stack_pointer);
        }
    switch_stacks(&own.stack_pointer, of.scheduler);
}

extern "C" void grating_emulated_fiber() {
    for (;;) {
        processor->entry(processor->arguments);
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

// Runs a warp until all of its lanes wait for the block or have finished. False where they wait for different things;
// those that wait for the block are added to `waiting`.
bool run_warp(Processor& of, unsigned first, unsigned end, unsigned& waiting) {
    of.end_of_warp = end;
    for (;;) {
        for (unsigned lane = first; lane < end; lane++)
            if (goes_on(of.fibers[lane])) {
                // The others follow.
                select(lane);
                switch_stacks(&of.scheduler, of.fibers[lane].stack_pointer);
                break;
            }
        unsigned for_warp = 0, for_block = 0;
        for (unsigned lane = first; lane < end; lane++) {
            for_warp += of.fibers[lane].waits == Waits::for_warp;
            for_block += of.fibers[lane].waits == Waits::for_block;
        }
        waiting += for_block;
        if (for_warp == 0) return true;
        // Lanes that have finished are not waited for; those at a barrier of the block never come.
        if (for_block > 0) return false;
        if (for_warp < end - first && end - first == LANES && for_warp != LANES) return false;
    }
}

bool run_block(Processor& of, unsigned threads, bool backwards) {
    const unsigned warps = (threads + LANES - 1) / LANES;
    for (unsigned i = 0; i < threads; i++) of.fibers[i].waits = Waits::nothing, of.fibers[i].side = 0;
    memset(of.block_memory, 0xff, of.handed_out);
    of.handed_out = 0;
    if (of.has_shown) memset((void*)of.shown, 0xff, warps * sizeof of.shown[0]);
    of.has_shown = false;
    for (;;) {
        unsigned waiting = 0;
        for (unsigned i = 0; i < warps; i++) {
            const unsigned first = (backwards ? warps - 1 - i : i) * LANES;
            const unsigned end = first + LANES < threads ? first + LANES : threads;
            if (!run_warp(of, first, end, waiting)) return false;
        }
        if (waiting == 0) return true;
        for (unsigned i = 0; i < threads; i++)
            if (of.fibers[i].waits == Waits::for_block) of.fibers[i].waits = Waits::nothing;
    }
}

// Block after block.
const char* run_grid(Processor& of, const unsigned (&grid)[3], unsigned threads, bool backwards) {
    for (unsigned i = 0; i < threads; i++) prepare(of.fibers[i], of.stacks[i]);
    of.has_shown = true;
    const unsigned blocks = grid[0] * grid[1] * grid[2];
    for (unsigned i = 0; i < blocks; i++) {
        const unsigned at = backwards ? blocks - 1 - i : i;
        block = {at % grid[0], at / grid[0] % grid[1], at / grid[0] / grid[1]};
        if (!run_block(of, threads, backwards)) return "lanes of a warp wait at different barriers";
    }
    return nullptr;
}

}  // namespace

__thread Index thread, block;

void* shared_memory(size_t bytes) {
    if (bytes > SHARED_BYTES) {
        fprintf(stderr, "a kernel shares %zu bytes, a block has %zu\n", bytes, SHARED_BYTES);
        abort();
    }
    if (bytes > processor->handed_out) processor->handed_out = bytes;
    return processor->block_memory;
}

void barrier_of_warp() { yield(Waits::for_warp); }
void barrier_of_block() { yield(Waits::for_block); }

// The warp's side of an exchange that all lanes come to.
static Shown& next_side() {
    Processor& of = *processor;
    of.has_shown = true;
    return of.shown[of.current / LANES][of.fibers[of.current].side ^= 1];
}

unsigned exchange(unsigned value, unsigned lanes) {
    const unsigned lane = thread.x % LANES;
    Shown& all = next_side();
    all.numbers[lane] = value;
    yield(Waits::for_warp);
    return all.numbers[lane ^ lanes];
}

// Two bf16 of a word, the lower first.
static void unpack(double* to, unsigned pair) {
    to[0] = bits_to_f32(pair << 16);
    to[1] = bits_to_f32(pair & 0xffff0000);
}

// The sum of 16 products, of which each is exact.
static double dot(const double (&x)[16], const double (&w)[16]) {
    double products[16];
    for (unsigned k = 0; k < 16; k++) products[k] = x[k] * w[k];
    for (unsigned count = 8; count > 0; count /= 2)
        for (unsigned k = 0; k < count; k++) products[k] += products[k + count];
    return products[0];
}

void product(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    const unsigned group = thread.x % LANES / 4, lane = thread.x % 4;
    Shown& all = next_side();
    for (unsigned i = 0; i < 4; i++) unpack(&all.a[group + i % 2 * 8][i / 2 * 8 + lane * 2], a[i]);
    for (unsigned i = 0; i < 2; i++) unpack(&all.b[group][i * 8 + lane * 2], b[i]);
    yield(Waits::for_warp);
    for (unsigned i = 0; i < 4; i++)
        d[i] = (float)((double)d[i] + dot(all.a[group + i / 2 * 8], all.b[lane * 2 + i % 2]));
}

Registration::Registration(const char* name, size_t argument_bytes, unsigned threads, Entry entry) {
    kernels()[name] = {argument_bytes, threads, entry};
}

}  // namespace emulated

// Whether there is a kernel of that name.
extern "C" int grating_emulated_has(const char* name) {
    return emulated::kernels().count(name) > 0;
}

// Runs a kernel's grid; null, or what was wrong.
extern "C" const char* grating_emulated_launch(
    const char* name, unsigned x, unsigned y, unsigned z, unsigned threads, const void* arguments, size_t bytes,
    int backwards) {
    using namespace emulated;
    const auto found = kernels().find(name);
    if (found == kernels().end()) return "there is no such kernel";
    const Kernel& kernel = found->second;
    if (kernel.argument_bytes != bytes) return "its arguments have another size";
    if (kernel.threads != threads || threads > MOST_THREADS) return "it is written for another number of threads";
    processor = take_processor();
    processor->entry = kernel.entry;
    processor->arguments = arguments;
    const char* fault = run_grid(*processor, {x, y, z}, threads, backwards);
    give_back(processor);
    processor = nullptr;
    return fault;
}
