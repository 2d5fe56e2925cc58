// Atoms' parts of a polarizability surface, and their gradient: lrcalc/models/surface.py, its
// reference. Sizes are constants of the compilation: REAL, SPECIES, SCALARS, HIDDEN, CHANNELS.
#include <cmath>

#include "blocks.h"

extern "C" {

// Weights of one species after another, and with rows and columns exchanged: layers (SCALARS,
// HIDDEN), (HIDDEN, CHANNELS), and of the scalar (HIDDEN).
struct Surface {
    const REAL *first, *second, *scalar, *first_turned, *second_turned, *constant;
    double unit;
    const REAL *scalars, *tensors;  // (n, SCALARS), (n, CHANNELS, 5)
    const int64_t *species;
    int64_t n, threads;
};

}  // extern "C"

namespace {

// Atoms sorted by species, and how many each has.
struct Sorted {
    std::vector<int64_t> order, counts;

    explicit Sorted(const Surface *at) : order(at->n), counts(SPECIES, 0) {
        for (int64_t i = 0; i < at->n; ++i) ++counts[at->species[i]];
        std::vector<int64_t> next(SPECIES, 0);
        for (int s = 1; s < SPECIES; ++s) next[s] = next[s - 1] + counts[s - 1];
        for (int64_t i = 0; i < at->n; ++i) order[next[at->species[i]]++] = i;
    }
};

// Rows (n, N) of the atoms of a block, eight with zeros for those that there are not.
template <int N>
inline void gather(REAL *to, const REAL *from, const int64_t *atom, int64_t count) {
    std::fill(to, to + ATOMS * N, REAL(0));
    for (int a = 0; a < count; ++a)
        std::copy(from + atom[a] * N, from + (atom[a] + 1) * N, to + a * N);
}

template <int N>
inline void scatter(REAL *to, const REAL *from, const int64_t *atom, int64_t count) {
    for (int a = 0; a < count; ++a)
        std::copy(from + a * N, from + (a + 1) * N, to + atom[a] * N);
}

}  // namespace

extern "C" {

// Six numbers of each atom (n, 6); inner numbers of the layer (n, HIDDEN), the share of each that
// the layer lets through, and gates (n, CHANNELS).
void parts(const Surface *at, REAL *inner, REAL *share, REAL *gates, double *out) {
    const Sorted sorted(at);
    shared_out(sorted.counts.data(), at->threads, [=, &sorted](const Block &b) {
        const int64_t *atom = &sorted.order[b.first], own = b.species;
        REAL x[ATOMS * SCALARS], p[ATOMS * HIDDEN] = {}, open[ATOMS * HIDDEN];
        REAL hidden[ATOMS * HIDDEN], gate[ATOMS * CHANNELS] = {};
        gather<SCALARS>(x, at->scalars, atom, b.count);
        add_product<HIDDEN>(p, HIDDEN, x, SCALARS, at->first + own * SCALARS * HIDDEN, SCALARS);
        for (int h = 0; h < ATOMS * HIDDEN; ++h) {
            open[h] = 1 / (1 + std::exp(-p[h]));
            hidden[h] = p[h] * open[h];
        }
        add_product<CHANNELS>(gate, CHANNELS, hidden, HIDDEN,
                              at->second + own * HIDDEN * CHANNELS, HIDDEN);
        scatter<HIDDEN>(inner, p, atom, b.count);
        scatter<HIDDEN>(share, open, atom, b.count);
        scatter<CHANNELS>(gates, gate, atom, b.count);
        for (int a = 0; a < b.count; ++a) {
            const REAL *tensor = at->tensors + atom[a] * CHANNELS * 5;
            REAL scalar = at->constant[own], sum[5] = {};
            for (int h = 0; h < HIDDEN; ++h)
                scalar += hidden[a * HIDDEN + h] * at->scalar[own * HIDDEN + h];
            for (int c = 0; c < CHANNELS; ++c)
                for (int m = 0; m < 5; ++m) sum[m] += gate[a * CHANNELS + c] * tensor[c * 5 + m];
            out[6 * atom[a]] = at->unit * double(scalar);
            for (int m = 0; m < 5; ++m) out[6 * atom[a] + 1 + m] = at->unit * double(sum[m]);
        }
    });
}

// Gradients of parts that are weighed by `given`, rows of six `step` apart: by scalars and tensors.
void parts_backward(const Surface *at, const REAL *inner, const REAL *share, const REAL *gates,
                    const double *given, int64_t step, REAL *scalars, REAL *tensors) {
    const Sorted sorted(at);
    shared_out(sorted.counts.data(), at->threads, [=, &sorted](const Block &b) {
        const int64_t *atom = &sorted.order[b.first], own = b.species;
        REAL scalar[ATOMS] = {}, gate[ATOMS * CHANNELS] = {}, hidden[ATOMS * HIDDEN] = {};
        REAL p[ATOMS * HIDDEN], open[ATOMS * HIDDEN], x[ATOMS * SCALARS] = {};
        for (int a = 0; a < b.count; ++a) {
            REAL weight[6];
            for (int m = 0; m < 6; ++m) weight[m] = REAL(at->unit * given[atom[a] * step + m]);
            scalar[a] = weight[0];
            for (int c = 0; c < CHANNELS; ++c) {
                const int64_t place = atom[a] * CHANNELS + c;
                const REAL *t = at->tensors + place * 5;
                gate[a * CHANNELS + c] = (weight[1] * t[0] + weight[2] * t[1])
                                         + (weight[3] * t[2] + weight[4] * t[3]) + weight[5] * t[4];
                for (int m = 0; m < 5; ++m) tensors[place * 5 + m] = weight[1 + m] * gates[place];
            }
        }
        add_product<HIDDEN>(hidden, HIDDEN, gate, CHANNELS,
                            at->second_turned + own * HIDDEN * CHANNELS, CHANNELS);
        gather<HIDDEN>(p, inner, atom, b.count);
        gather<HIDDEN>(open, share, atom, b.count);
        for (int a = 0; a < ATOMS; ++a)
            for (int h = 0; h < HIDDEN; ++h) {
                const int k = a * HIDDEN + h;
                const REAL slope = open[k] * (1 + p[k] * (1 - open[k]));
                hidden[k] = (hidden[k] + scalar[a] * at->scalar[own * HIDDEN + h]) * slope;
            }
        add_product<SCALARS>(x, SCALARS, hidden, HIDDEN,
                             at->first_turned + own * SCALARS * HIDDEN, HIDDEN);
        scatter<SCALARS>(scalars, x, atom, b.count);
    });
}

}  // extern "C"
