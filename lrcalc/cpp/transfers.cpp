// Weights of handing charge on, and their gradient: lrcalc/models/transfers.py, its reference.
//
// Sizes are constants of the compilation: REAL, SPECIES, CHANNELS, BASIS.
#include <cmath>

#include "threads.h"
#include "waves.h"

extern "C" {

struct Reach {
    const REAL *vectors;
    const int64_t *rows, *centre, *neighbour, *species;
    const REAL *learned, *decay;  // (species, species, BASIS + 1, channels), (channels)
    int64_t count;                // rows
    double cutoff;
    int64_t threads;
};

}  // extern "C"

namespace {

// Pairs of a few rows, a register full of them at a time.
struct Few {
    int count;
    int64_t row[LANES];
    const REAL *table[LANES];
    REAL x[LANES], y[LANES], z[LANES], r[LANES], envelope[LANES], falling[LANES];
    REAL wave[LANES][BASIS], slope[LANES][BASIS];

    void set(const Reach *at, int64_t first) {
        count = int(std::min<int64_t>(LANES, at->count - first));
        const REAL cutoff = REAL(at->cutoff), per = 1 / cutoff, norm = std::sqrt(2 / cutoff);
        double sine[LANES], cosine[LANES];
        REAL height[LANES], change[LANES];
        for (int l = 0; l < count; ++l) {
            row[l] = at->rows[first + l];
            const int64_t one = at->species[at->centre[row[l]]];
            const int64_t two = at->species[at->neighbour[row[l]]];
            table[l] = at->learned + (one * SPECIES + two) * (BASIS + 1) * CHANNELS;
            x[l] = at->vectors[3 * row[l]];
            y[l] = at->vectors[3 * row[l] + 1];
            z[l] = at->vectors[3 * row[l] + 2];
        }
        for (int l = count; l < LANES; ++l) x[l] = cutoff, y[l] = z[l] = 0;
        for (int l = 0; l < LANES; ++l) {
            r[l] = std::sqrt(x[l] * x[l] + y[l] * y[l] + z[l] * z[l]);
            const REAL i = 1 / r[l], u = r[l] * per, t = u > 1 ? REAL(1) : u;  // NaN stays NaN
            const REAL t2 = t * t, t5 = t2 * t2 * t;
            x[l] *= i, y[l] *= i, z[l] *= i;
            envelope[l] = 1 + t5 * t * (-28 + t * (48 - 21 * t));
            falling[l] = -168 * t5 * (1 - t) * (1 - t) * per;
            height[l] = norm * envelope[l] * i;
            change[l] = norm * i * (falling[l] - envelope[l] * i);
            turned(t, sine[l], cosine[l]);
        }
        for (int l = 0; l < LANES; ++l) {
            double s = sine[l], c = cosine[l];
#pragma GCC unroll 64
            for (int b = 0; b < BASIS; ++b) {
                wave[l][b] = height[l] * s;
                slope[l][b] = change[l] * s + height[l] * c * REAL((b + 1) * PI) * per;
                const double next = s * cosine[l] + c * sine[l];
                c = c * cosine[l] - s * sine[l];
                s = next;
            }
        }
    }

    // Logarithm of the weight without the envelope, of pair l in each channel.
    void exponents(REAL *out, int l, const REAL *decay) const {
        for (int c = 0; c < CHANNELS; ++c)
            out[c] = table[l][BASIS * CHANNELS + c] - (r[l] - 1) / decay[c];
        for (int b = 0; b < BASIS; ++b)
            for (int c = 0; c < CHANNELS; ++c) out[c] += wave[l][b] * table[l][b * CHANNELS + c];
    }
};

}  // namespace

extern "C" {

// Weights (count, channels).
void weights(const Reach *at, REAL *out) {
    const int64_t chunks = (at->count + LANES - 1) / LANES;
    in_parts(chunks, at->threads, [=](int64_t part, int64_t parts) {
        Few few;
        for (int64_t k = part; k < chunks; k += parts) {
            few.set(at, k * LANES);
            for (int l = 0; l < few.count; ++l) {
                REAL *to = out + (k * LANES + l) * CHANNELS;
                few.exponents(to, l, at->decay);
                for (int c = 0; c < CHANNELS; ++c) to[c] = few.envelope[l] * std::exp(to[c]);
            }
        }
    });
}

// Gradient with respect to the vectors, in their rows.
void weights_backward(const Reach *at, const REAL *given, REAL *out) {
    const int64_t chunks = (at->count + LANES - 1) / LANES;
    in_parts(chunks, at->threads, [=](int64_t part, int64_t parts) {
        Few few;
        for (int64_t k = part; k < chunks; k += parts) {
            few.set(at, k * LANES);
            for (int l = 0; l < few.count; ++l) {
                const REAL *by = given + (k * LANES + l) * CHANNELS;
                REAL value[CHANNELS], change[CHANNELS], along = 0;
                few.exponents(value, l, at->decay);
                for (int c = 0; c < CHANNELS; ++c) change[c] = -1 / at->decay[c];
                for (int b = 0; b < BASIS; ++b)
                    for (int c = 0; c < CHANNELS; ++c)
                        change[c] += few.slope[l][b] * few.table[l][b * CHANNELS + c];
                for (int c = 0; c < CHANNELS; ++c)
                    along += by[c] * std::exp(value[c])
                             * (few.falling[l] + few.envelope[l] * change[c]);
                REAL *to = out + 3 * few.row[l];
                to[0] = along * few.x[l], to[1] = along * few.y[l], to[2] = along * few.z[l];
            }
        }
    });
}

}  // extern "C"
