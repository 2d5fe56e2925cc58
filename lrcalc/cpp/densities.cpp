// Densities of neighbours of each species, mixed to channels, and their gradient.
#include <atomic>
#include <cmath>

#include "blocks.h"
#include "waves.h"

namespace {

constexpr int SHELLS = SPECIES * BASIS;

// Neighbours of one atom, a register full of them at a time.
struct Neighbours {
    int count;
    REAL x[LANES], y[LANES], z[LANES], inverse[LANES];
    REAL angular[LMS][LANES], radial[BASIS][LANES], slope[BASIS][LANES];

    void set(const REAL *vectors, int64_t first, int n, REAL cutoff) {
        count = n;
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

// Mixed densities (lm, n, channels); weight (species, l, shells, channels). How many pairs were
// found where they belong: all of them, if they are sorted.
int64_t densities(const Pairs *p, const REAL *weight, REAL *out) {
    std::vector<REAL> raw(LMS * ATOMS * SHELLS), mixed(LMS * FLOATS);
    std::atomic<int64_t> found{0}, *total = &found;
    shared_out(p->counts, p->threads, [=](const Block &b) mutable {
        std::fill(raw.begin(), raw.end(), REAL(0));
        Neighbours near;
        int64_t here = 0;
        for (int a = 0; a < b.count; ++a) {
            const int64_t atom = p->order[b.first + a];
            const int64_t *end = p->centre + p->n_pairs;
            int64_t e = std::lower_bound(p->centre, end, atom) - p->centre;
            const int64_t last = std::lower_bound(p->centre + e, end, atom + 1) - p->centre;
            for (; e < last; e += LANES) {
                near.set(p->vectors, e, int(std::min<int64_t>(LANES, last - e)), REAL(p->cutoff));
                for (int l = 0; l < near.count; ++l) {
                    here += p->centre[e + l] == atom;
                    REAL waves[BASIS];
                    for (int k = 0; k < BASIS; ++k) waves[k] = near.radial[k][l];
                    REAL *sum = &raw[a * SHELLS + p->species[p->neighbour[e + l]] * BASIS];
                    for (int lm = 0; lm < LMS; ++lm)
                        for (int k = 0; k < BASIS; ++k)
                            sum[lm * ATOMS * SHELLS + k] += near.angular[lm][l] * waves[k];
                }
            }
        }
        std::fill(mixed.begin(), mixed.end(), REAL(0));
        for (int ell = 0; ell < 4; ++ell)
            for (int lm = FIRST[ell]; lm < FIRST[ell] + WIDTH[ell]; ++lm)
                add_product<CHANNELS>(&mixed[lm * FLOATS], CHANNELS, &raw[lm * ATOMS * SHELLS],
                                      SHELLS, weight + (b.species * 4 + ell) * SHELLS * CHANNELS,
                                      SHELLS);
        put(out, mixed.data(), b, p->n);
        *total += here;
    });
    return found;
}

// Gradient with respect to the vectors; transposed weight (species, l, channels, shells).
void densities_backward(const Pairs *p, const REAL *weight, const REAL *given, REAL *out) {
    std::vector<REAL> mixed(LMS * FLOATS), raw(LMS * ATOMS * SHELLS);
    std::vector<REAL> by_wave(LMS * SHELLS), by_angle(LMS * SHELLS);
    shared_out(p->counts, p->threads, [=](const Block &b) mutable {
        take(mixed.data(), given, b, p->n);
        std::fill(raw.begin(), raw.end(), REAL(0));
        for (int ell = 0; ell < 4; ++ell)
            for (int lm = FIRST[ell]; lm < FIRST[ell] + WIDTH[ell]; ++lm)
                add_product<SHELLS>(&raw[lm * ATOMS * SHELLS], SHELLS, &mixed[lm * FLOATS],
                                    CHANNELS, weight + (b.species * 4 + ell) * SHELLS * CHANNELS,
                                    CHANNELS);
        Neighbours near;
        for (int a = 0; a < b.count; ++a) {
            for (int lm = 0; lm < LMS; ++lm)
                for (int s = 0; s < SPECIES; ++s)
                    for (int k = 0; k < BASIS; ++k) {
                        const REAL value = raw[(lm * ATOMS + a) * SHELLS + s * BASIS + k];
                        by_wave[(s * LMS + lm) * BASIS + k] = value;
                        by_angle[(s * BASIS + k) * LMS + lm] = value;
                    }
            const int64_t atom = p->order[b.first + a];
            const int64_t *end = p->centre + p->n_pairs;
            int64_t e = std::lower_bound(p->centre, end, atom) - p->centre;
            const int64_t last = std::lower_bound(p->centre + e, end, atom + 1) - p->centre;
            for (; e < last; e += LANES) {
                near.set(p->vectors, e, int(std::min<int64_t>(LANES, last - e)), REAL(p->cutoff));
                REAL angular[LMS][LANES] = {}, distance[LANES] = {};
                for (int l = 0; l < near.count; ++l) {
                    const int64_t s = p->species[p->neighbour[e + l]];
                    REAL harmonic[LMS] = {}, wave[BASIS] = {};
                    for (int k = 0; k < BASIS; ++k)
                        for (int lm = 0; lm < LMS; ++lm)
                            harmonic[lm] += near.radial[k][l] * by_angle[(s * BASIS + k) * LMS + lm];
                    for (int lm = 0; lm < LMS; ++lm)
                        for (int k = 0; k < BASIS; ++k)
                            wave[k] += near.angular[lm][l] * by_wave[(s * LMS + lm) * BASIS + k];
                    for (int lm = 0; lm < LMS; ++lm) angular[lm][l] = harmonic[lm];
                    for (int k = 0; k < BASIS; ++k) distance[l] += wave[k] * near.slope[k][l];
                }
                near.gradient(out + 3 * e, angular, distance);
            }
        }
    });
}

}  // extern "C"
