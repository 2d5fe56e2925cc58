// The native backbone on a CPU: what densities, products and messages share.
//
// The same mathematics as lrcalc/models/native/local.py and products.py, which is the reference. Sizes
// are constants of the compilation (REAL, SPECIES, CHANNELS, BASIS, HIDDEN), so that inner loops
// have known lengths. Loops of 16 steps or less are unrolled by g++ before it looks for vectors,
// which it then misses: "unroll 1" keeps them. Blocks of eight atoms of one species are worked on at
// a time: their densities, products and gradients stay in the cache, and the weights are read once
// for eight rows. Threads share the blocks; each writes rows of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "threads.h"

namespace {

constexpr int ATOMS = 8;
constexpr int LMS = 16;                      // components up to l = 3
constexpr int WIDTH[4] = {1, 3, 5, 7};       // components of each l
constexpr int FIRST[4] = {0, 1, 4, 9};       // the first of them
constexpr int FLOATS = ATOMS * CHANNELS;     // of one component of a block

#if defined(__AVX512F__)
constexpr int BYTES = 64, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int BYTES = 32, REGISTERS = 16;
#else
constexpr int BYTES = 16, REGISTERS = 16;
#endif

constexpr int gcd(int a, int b) { return b ? gcd(b, a % b) : a; }

// y += x·w for eight rows: x (8, k) and y (8, N) with steps from row to row, w (k, N). The steps of x
// from column to column are `aside`.
template <int N>
inline void add_product(REAL *y, int y_step, const REAL *x, int x_step, const REAL *w, int k,
                        int aside = 1) {
    constexpr int size = gcd(N * int(sizeof(REAL)), BYTES), lanes = size / int(sizeof(REAL));
    constexpr int vectors = N / lanes;
    constexpr int several = vectors % 2 == 0 ? 2 : vectors % 3 == 0 ? 3 : 1;
    constexpr int together = REGISTERS >= 32 ? several : 1;
    typedef REAL wide __attribute__((vector_size(size), aligned(sizeof(REAL)), may_alias));
    for (int c = 0; c < N; c += lanes * together) {
        wide sum[ATOMS][together] = {};  // not y: short sums round less
        for (int q = 0; q < k; ++q) {
            const REAL *row = w + q * N + c;
            for (int v = 0; v < together; ++v) {
                const wide weight = *(const wide *)(row + v * lanes);
                for (int a = 0; a < ATOMS; ++a) sum[a][v] += x[a * x_step + q * aside] * weight;
            }
        }
        for (int a = 0; a < ATOMS; ++a)
            for (int v = 0; v < together; ++v)
                *(wide *)(y + a * y_step + c + v * lanes) += sum[a][v];
    }
}

// Rows that belong together: atoms of one species, first … first + count in the sorted order.
struct Block {
    int64_t species, first, count;
};

inline std::vector<Block> blocks_of(const int64_t *counts) {
    std::vector<Block> blocks;
    int64_t first = 0;
    for (int64_t s = 0; s < SPECIES; ++s) {
        for (int64_t done = 0; done < counts[s]; done += ATOMS)
            blocks.push_back({s, first + done, std::min<int64_t>(ATOMS, counts[s] - done)});
        first += counts[s];
    }
    return blocks;
}

// Threads share the blocks; each works in memory of its own that `work` brings along.
template <class Work>
void shared_out(const int64_t *counts, int64_t threads, Work work) {
    const std::vector<Block> blocks = blocks_of(counts);
    in_parts(blocks.size(), threads, [&](int64_t part, int64_t parts) {
        Work own = work;
        for (size_t b = part; b < blocks.size(); b += parts) own(blocks[b]);
    });
}

// Components of a block, (lm, 8, channels), from and to (lm, N, channels).
inline void take(REAL *block, const REAL *all, const Block &b, int64_t n) {
    for (int lm = 0; lm < LMS; ++lm) {
        const REAL *from = all + (lm * n + b.first) * CHANNELS;
        std::fill(std::copy(from, from + b.count * CHANNELS, block + lm * FLOATS),
                  block + (lm + 1) * FLOATS, REAL(0));
    }
}

inline void put(REAL *all, const REAL *block, const Block &b, int64_t n) {
    for (int lm = 0; lm < LMS; ++lm)
        std::copy(block + lm * FLOATS, block + lm * FLOATS + b.count * CHANNELS,
                  all + (lm * n + b.first) * CHANNELS);
}

}  // namespace
