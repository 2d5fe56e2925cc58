// Densities of neighbours of each species, mixed to channels, and their gradient.
#include <atomic>

#include "neighbours.h"

namespace {

constexpr int SHELLS = SPECIES * BASIS;

}  // namespace

extern "C" {

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
            const Range own = range_of(p, atom);
            for (int64_t e = own.first; e < own.last; e += LANES) {
                near.set(p, e, own.last);
                for (int l = 0; l < near.count; ++l) {
                    here += p->centre[e + l] == atom;
                    REAL waves[BASIS];
                    for (int k = 0; k < BASIS; ++k) waves[k] = near.radial[k][l];
                    REAL *sum = &raw[a * SHELLS + p->species[p->neighbour[e + l]] * BASIS];
                    for (int lm = 0; lm < LMS; ++lm)
#pragma GCC unroll 1
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
    std::vector<REAL> mixed(LMS * FLOATS), raw(LMS * ATOMS * SHELLS), by_wave(SHELLS * LMS);
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
                for (int k = 0; k < SHELLS; ++k)
                    by_wave[k * LMS + lm] = raw[(lm * ATOMS + a) * SHELLS + k];
            const int64_t atom = p->order[b.first + a];
            const Range own = range_of(p, atom);
            for (int64_t e = own.first; e < own.last; e += LANES) {
                near.set(p, e, own.last);
                REAL angular[LMS][LANES] = {}, along[LMS][LANES] = {}, distance[LANES] = {};
                for (int l = 0; l < near.count; ++l) {
                    const int64_t s = p->species[p->neighbour[e + l]];
                    const REAL *by = &by_wave[s * BASIS * LMS];
                    REAL harmonic[LMS] = {}, slid[LMS] = {};
                    for (int k = 0; k < BASIS; ++k)
#pragma GCC unroll 1
                        for (int lm = 0; lm < LMS; ++lm) {
                            harmonic[lm] += near.radial[k][l] * by[k * LMS + lm];
                            slid[lm] += near.slope[k][l] * by[k * LMS + lm];
                        }
                    for (int lm = 0; lm < LMS; ++lm)
                        angular[lm][l] = harmonic[lm], along[lm][l] = slid[lm];
                }
                for (int lm = 0; lm < LMS; ++lm)
                    for (int l = 0; l < LANES; ++l)
                        distance[l] += near.angular[lm][l] * along[lm][l];
                near.gradient(out + 3 * e, angular, distance);
            }
        }
    });
}

}  // extern "C"
