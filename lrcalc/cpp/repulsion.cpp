// Repulsion of pairs and its slope: lrcalc/models/prior.py and wall.py, its reference.
//
// REAL is a constant of the compilation.
#include <cmath>
#include <cstring>
#include <type_traits>

#include "threads.h"
#include "waves.h"

namespace {
constexpr int TERMS = 4;  // of the screening function
}

extern "C" {

struct Repulsion {
    const REAL *vectors;
    const int64_t *centre, *neighbour, *species;
    const REAL *strength, *rate;  // (species, species, TERMS)
    const REAL *start;            // (species, species), where the wall begins
    int64_t n_pairs, n_species;
    double cutoff, wall;  // the wall's strength
    int64_t threads;
};

}  // extern "C"

namespace {

using Bits = std::conditional_t<sizeof(REAL) == 8, int64_t, int32_t>;

// e^-x, x >= 0, as a power of two times a Taylor series, for registers full of x; NaN stays NaN.
inline REAL fallen(REAL x) {
    constexpr bool wide = sizeof(REAL) == 8;
    constexpr REAL most = wide ? 700 : 85, log2e = REAL(1.4426950408889634);
    constexpr REAL high = wide ? REAL(0.693147180369123816490) : REAL(0.693359375);
    constexpr REAL low = wide ? REAL(1.90821492927058770002e-10) : REAL(-2.12194440e-4);
    const REAL y = x > most ? most : x;
    const REAL n = std::floor(y * log2e + REAL(0.5));
    const REAL rest = (n * high - y) + n * low;
    REAL series = 1;
#pragma GCC unroll 16
    for (int k = wide ? 13 : 7; k > 0; --k) series = 1 + series * rest * REAL(1.0 / k);
    constexpr int digits = wide ? 52 : 23, zero = wide ? 1023 : 127;
    const Bits bits = (Bits(zero) - Bits(n)) << digits;
    REAL power;
    std::memcpy(&power, &bits, sizeof(REAL));
    return series * power;
}

// Pairs that repel, a register full of them at a time.
struct Few {
    int count = 0;
    int64_t row[LANES];
    REAL r[LANES], start[LANES], strength[TERMS][LANES], rate[TERMS][LANES];

    void add(const Repulsion *at, int64_t e, int64_t couple, REAL distance) {
        row[count] = e;
        r[count] = distance;
        start[count] = at->start[couple];
        for (int k = 0; k < TERMS; ++k) {
            strength[k][count] = at->strength[couple * TERMS + k];
            rate[k][count] = at->rate[couple * TERMS + k];
        }
        ++count;
    }

    // Half of the energy of each, and its slope over the distance.
    void finish(const Repulsion *at, REAL *energy, REAL *pull) {
        for (int l = count; l < LANES; ++l) {
            r[l] = 1, start[l] = 0;
            for (int k = 0; k < TERMS; ++k) strength[k][l] = rate[k][l] = 0;
        }
        const REAL per = REAL(1 / at->cutoff), wall = REAL(at->wall);
        REAL e[LANES], p[LANES];
        for (int l = 0; l < LANES; ++l) {
            REAL value = 0, change = 0;
#pragma GCC unroll 4
            for (int k = 0; k < TERMS; ++k) {
                const REAL term = strength[k][l] * fallen(rate[k][l] * r[l]);
                value += term;
                change -= term * rate[k][l];
            }
            const REAL i = 1 / r[l], u = r[l] * per, t = u > 1 ? REAL(1) : u;
            const REAL t2 = t * t, t5 = t2 * t2 * t;
            const REAL envelope = 1 + t5 * t * (-28 + t * (48 - 21 * t));
            const REAL falling = -168 * t5 * (1 - t) * (1 - t) * per;
            const REAL gap = start[l] - r[l], inside = gap < 0 ? REAL(0) : gap;
            const REAL square = wall * inside * inside;
            e[l] = REAL(0.5) * (value * i * envelope + square * inside);
            p[l] = REAL(0.5) * i
                   * (i * (envelope * (change - value * i) + value * falling) - 3 * square);
        }
        for (int l = 0; l < count; ++l) energy[row[l]] = e[l], pull[row[l]] = p[l];
        count = 0;
    }
};

}  // namespace

extern "C" {

// Half of the energy of each pair, and its slope over the distance, both (n_pairs).
void repulsion(const Repulsion *at, REAL *energy, REAL *pull) {
    const int64_t chunk = 1024, chunks = (at->n_pairs + chunk - 1) / chunk;
    in_parts(chunks, at->threads, [=](int64_t part, int64_t parts) {
        Few few;
        const int64_t last = std::min(at->n_pairs, chunks * (part + 1) / parts * chunk);
        const REAL cutoff = REAL(at->cutoff);
        for (int64_t e = chunks * part / parts * chunk; e < last; ++e) {
            const REAL *v = at->vectors + 3 * e;
            const REAL distance = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
            const int64_t couple = at->species[at->centre[e]] * at->n_species
                                   + at->species[at->neighbour[e]];
            energy[e] = pull[e] = 0;
            // what is no number is added, and stays none
            const bool apart = distance >= at->start[couple];
            const bool silent = at->strength[couple * TERMS] == 0 || distance >= cutoff;
            if (apart && silent) continue;
            few.add(at, e, couple, distance);
            if (few.count == LANES) few.finish(at, energy, pull);
        }
        few.finish(at, energy, pull);
    });
}

}  // extern "C"
