// Neighbours of atoms: which pairs there are, their waves and harmonics, and the gradient of these.
#pragma once

#include <algorithm>
#include <cmath>

#include "blocks.h"
#include "waves.h"

extern "C" {

// What describes pairs, sorted by `centre`, and atoms sorted by species.
struct Pairs {
    const REAL *vectors;
    const int64_t *centre, *neighbour;
    int64_t n_pairs;
    const int64_t *species;  // of all atoms, in their own order
    const int64_t *order;    // atoms of the centres sorted by species
    const int64_t *counts;   // centres of each species
    int64_t n;               // centres
    double cutoff;
    int64_t threads;
};

}  // extern "C"

namespace {

// Pairs of an atom: from first to before last.
struct Range {
    int64_t first, last;
};

inline Range range_of(const Pairs *p, int64_t atom) {
    const int64_t *end = p->centre + p->n_pairs;
    const int64_t *low = std::lower_bound(p->centre, end, atom);
    return {low - p->centre, std::lower_bound(low, end, atom + 1) - p->centre};
}

// Neighbours of one atom, a register full of them at a time.
struct Neighbours {
    int count;
    REAL x[LANES], y[LANES], z[LANES], inverse[LANES];
    REAL angular[LMS][LANES], radial[BASIS][LANES], slope[BASIS][LANES];

    // Those from `first` on, before `last`.
    void set(const Pairs *p, int64_t first, int64_t last) {
        const int n = count = int(std::min<int64_t>(LANES, last - first));
        const REAL *vectors = p->vectors, cutoff = REAL(p->cutoff);
        double sine[LANES], cosine[LANES];
        REAL height[LANES], change[LANES];
        for (int l = 0; l < n; ++l) {
            x[l] = vectors[3 * (first + l)];
            y[l] = vectors[3 * (first + l) + 1];
            z[l] = vectors[3 * (first + l) + 2];
        }
        for (int l = n; l < LANES; ++l) x[l] = cutoff, y[l] = z[l] = 0;
        const REAL norm = std::sqrt(2 / cutoff), per = 1 / cutoff;
        for (int l = 0; l < LANES; ++l) {
            const REAL r = std::sqrt(x[l] * x[l] + y[l] * y[l] + z[l] * z[l]), i = 1 / r;
            inverse[l] = i;
            x[l] *= i, y[l] *= i, z[l] *= i;
            const REAL u = r * per, t = u > 1 ? REAL(1) : u;  // NaN stays NaN
            const REAL t2 = t * t, t5 = t2 * t2 * t;
            const REAL envelope = 1 + t5 * t * (-28 + t * (48 - 21 * t));
            const REAL falling = -168 * t5 * (1 - t) * (1 - t) * per;
            turned(t, sine[l], cosine[l]);
            height[l] = norm * envelope * i;
            change[l] = norm * i * (falling - envelope * i);
        }
        for (int l = 0; l < LANES; ++l) {
            double s = sine[l], c = cosine[l];
#pragma GCC unroll 64
            for (int b = 0; b < BASIS; ++b) {  // waves of order n weigh 1/n
                const REAL order = b + 1;
                radial[b][l] = height[l] * s * (1 / order);
                slope[b][l] = change[l] * s * (1 / order)
                              + height[l] * c * REAL(PI) * per;
                const double next = s * cosine[l] + c * sine[l];
                c = c * cosine[l] - s * sine[l];
                s = next;
            }
        }
        harmonics();
    }

    // Real spherical harmonics with the polar axis y, mean square over the sphere 1.
    void harmonics() {
        const REAL s3 = std::sqrt(REAL(3)), s15 = std::sqrt(REAL(15)), s5 = std::sqrt(REAL(5));
        const REAL a = std::sqrt(REAL(35) / 8), b = std::sqrt(REAL(105)), d = std::sqrt(REAL(21) / 8);
        const REAL s7 = std::sqrt(REAL(7));
        for (int l = 0; l < LANES; ++l) {
            const REAL X = z[l], Y = x[l], Z = y[l], XX = X * X, YY = Y * Y, ZZ = Z * Z;
            const REAL five = 5 * ZZ - 1;
            angular[0][l] = 1;
            angular[1][l] = s3 * Y;
            angular[2][l] = s3 * Z;
            angular[3][l] = s3 * X;
            angular[4][l] = s15 * X * Y;
            angular[5][l] = s15 * Y * Z;
            angular[6][l] = s5 * (REAL(1.5) * ZZ - REAL(0.5));
            angular[7][l] = s15 * X * Z;
            angular[8][l] = REAL(0.5) * s15 * (XX - YY);
            angular[9][l] = a * Y * (3 * XX - YY);
            angular[10][l] = b * X * Y * Z;
            angular[11][l] = d * Y * five;
            angular[12][l] = REAL(0.5) * s7 * Z * (5 * ZZ - 3);
            angular[13][l] = d * X * five;
            angular[14][l] = REAL(0.5) * b * Z * (XX - YY);
            angular[15][l] = a * X * (XX - 3 * YY);
        }
    }

    // Gradient with respect to the vectors, of that with respect to harmonics `g` and distance `f`.
    void gradient(REAL *out, const REAL (*g)[LANES], const REAL *f) const {
        const REAL s3 = std::sqrt(REAL(3)), s15 = std::sqrt(REAL(15)), s5 = std::sqrt(REAL(5));
        const REAL a = std::sqrt(REAL(35) / 8), b = std::sqrt(REAL(105)), d = std::sqrt(REAL(21) / 8);
        const REAL s7 = std::sqrt(REAL(7));
        REAL gx[LANES], gy[LANES], gz[LANES];
        for (int l = 0; l < LANES; ++l) {
            const REAL X = z[l], Y = x[l], Z = y[l], XX = X * X, YY = Y * Y, ZZ = Z * Z;
            const REAL five = 5 * ZZ - 1;
            const REAL by_x = s3 * g[3][l] + s15 * (Y * g[4][l] + Z * g[7][l] + X * g[8][l])
                + 6 * a * X * Y * g[9][l] + b * Y * Z * g[10][l] + d * five * g[13][l]
                + b * Z * X * g[14][l] + 3 * a * (XX - YY) * g[15][l];
            const REAL by_y = s3 * g[1][l] + s15 * (X * g[4][l] + Z * g[5][l] - Y * g[8][l])
                + 3 * a * (XX - YY) * g[9][l] + b * X * Z * g[10][l] + d * five * g[11][l]
                - b * Z * Y * g[14][l] - 6 * a * X * Y * g[15][l];
            const REAL by_z = s3 * g[2][l] + s15 * (Y * g[5][l] + X * g[7][l])
                + 3 * s5 * Z * g[6][l] + b * X * Y * g[10][l]
                + 10 * d * Z * (Y * g[11][l] + X * g[13][l])
                + REAL(1.5) * s7 * five * g[12][l] + REAL(0.5) * b * (XX - YY) * g[14][l];
            // the direction turns, its length stays
            const REAL along = X * by_x + Y * by_y + Z * by_z;
            const REAL push = f[l] - along * inverse[l];
            gx[l] = by_y * inverse[l] + push * x[l];
            gy[l] = by_z * inverse[l] + push * y[l];
            gz[l] = by_x * inverse[l] + push * z[l];
        }
        for (int l = 0; l < count; ++l)
            out[3 * l] = gx[l], out[3 * l + 1] = gy[l], out[3 * l + 2] = gz[l];
    }
};

}  // namespace
