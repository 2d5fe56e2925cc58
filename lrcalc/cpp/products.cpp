// Products of densities, their invariants and the perceptron on these, and the gradient.
#include <cmath>

#include "blocks.h"

namespace {

constexpr int PATHS[4] = {4, 3, 5, 3};       // products into each l
constexpr int ROW[4] = {0, 4, 13, 38};       // the first row of these products
constexpr int ROWS = 59;
constexpr int MIX = 19 * CHANNELS * CHANNELS;  // products and the density itself, of all l
constexpr int INVARIANTS = 13 * CHANNELS;

}  // namespace

extern "C" {

// Coefficients of products, and the weights; sizes are given where they are packed (cpu.py).
struct Weights {
    const int64_t *row, *first, *second;
    const REAL *coefficient;
    int64_t n_coefficients;
    const REAL *mix, *layer1, *layer2;
};

}  // extern "C"

namespace {

// Products of densities (59 rows), (rows, 8, channels).
void multiply(REAL *rows, const REAL *density, const Weights *w) {
    std::fill(rows, rows + ROWS * FLOATS, REAL(0));
    for (int64_t t = 0; t < w->n_coefficients; ++t) {
        REAL *to = rows + w->row[t] * FLOATS;
        const REAL *one = density + w->first[t] * FLOATS, *two = density + w->second[t] * FLOATS;
        for (int c = 0; c < FLOATS; ++c) to[c] += w->coefficient[t] * one[c] * two[c];
    }
}

// Add (channels, 2 l + 1) to the components of l of an atom of a block.
template <int L>
inline void add_turned(REAL *block, const REAL *given) {
    for (int m = 0; m < WIDTH[L]; ++m)
        for (int c = 0; c < CHANNELS; ++c)
            block[(FIRST[L] + m) * FLOATS + c] += given[c * WIDTH[L] + m];
}

inline REAL sigmoid(REAL x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

extern "C" {

// Which atoms there are: sorted by species, and where each was before.
struct Atoms {
    const int64_t *counts, *order;
    int64_t n, threads;
};

// Products (lm, n, channels), hidden (n, HIDDEN), and what the gradient needs of the perceptron:
// its arguments (n, 2 HIDDEN). In the order of before: vectors (n, 3, 2 channels) and tensors
// (n, 5, 2 channels) of density and product.
void describe(const Weights *w, const Atoms *atoms, const REAL *density, REAL *product,
              REAL *hidden, REAL *arguments, REAL *vectors, REAL *tensors) {
    const int64_t n = atoms->n;
    std::vector<REAL> own(LMS * FLOATS), rows(ROWS * FLOATS), made(LMS * FLOATS);
    std::vector<REAL> invariants(ATOMS * INVARIANTS), one(ATOMS * HIDDEN), two(ATOMS * HIDDEN);
    shared_out(atoms->counts, atoms->threads, [=](const Block &b) mutable {
        take(own.data(), density, b, n);
        multiply(rows.data(), own.data(), w);
        std::fill(made.begin(), made.end(), REAL(0));
        const REAL *mix = w->mix + b.species * MIX;
        for (int ell = 0; ell < 4; ++ell)
            for (int path = 0; path <= PATHS[ell]; ++path, mix += CHANNELS * CHANNELS)
                for (int m = 0; m < WIDTH[ell]; ++m) {
                    const REAL *from = path < PATHS[ell]
                        ? &rows[(ROW[ell] + path * WIDTH[ell] + m) * FLOATS]
                        : &own[(FIRST[ell] + m) * FLOATS];
                    add_product<CHANNELS>(&made[(FIRST[ell] + m) * FLOATS], CHANNELS, from,
                                          CHANNELS, mix, CHANNELS);
                }
        put(product, made.data(), b, n);
        for (int a = 0; a < b.count; ++a) {
            const int64_t atom = atoms->order[b.first + a];
            for (const REAL *from : {own.data(), made.data()}) {
                const int shift = from == own.data() ? 0 : CHANNELS;
                for (int lm = 1; lm < 9; ++lm) {
                    REAL *to = lm < 4 ? vectors + (atom * 3 + lm - 1) * 2 * CHANNELS
                                      : tensors + (atom * 5 + lm - 4) * 2 * CHANNELS;
                    const REAL *row = from + lm * FLOATS + a * CHANNELS;
                    std::copy(row, row + CHANNELS, to + shift);
                }
            }
        }
        for (int a = 0; a < ATOMS; ++a) {
            REAL *to = &invariants[a * INVARIANTS];
            std::copy(&own[a * CHANNELS], &own[a * CHANNELS] + CHANNELS, to);
            for (int path = 0; path < 4; ++path)
                std::copy(&rows[path * FLOATS + a * CHANNELS],
                          &rows[path * FLOATS + a * CHANNELS] + CHANNELS,
                          to + (1 + path) * CHANNELS);
            for (int ell = 0; ell < 4; ++ell) {
                const REAL norm = 1 / std::sqrt(REAL(WIDTH[ell]));
                REAL cross[CHANNELS] = {}, square[CHANNELS] = {};
                for (int lm = FIRST[ell]; lm < FIRST[ell] + WIDTH[ell]; ++lm) {
                    const REAL *x = &own[lm * FLOATS + a * CHANNELS];
                    const REAL *y = &made[lm * FLOATS + a * CHANNELS];
                    for (int c = 0; c < CHANNELS; ++c) {
                        cross[c] += norm * x[c] * y[c];
                        square[c] += norm * y[c] * y[c];
                    }
                }
                std::copy(cross, cross + CHANNELS, to + (5 + ell) * CHANNELS);
                std::copy(square, square + CHANNELS, to + (9 + ell) * CHANNELS);
            }
        }
        std::fill(one.begin(), one.end(), REAL(0));
        std::fill(two.begin(), two.end(), REAL(0));
        for (int k = 0; k < INVARIANTS; k += CHANNELS)
            add_product<HIDDEN>(one.data(), HIDDEN, &invariants[k], INVARIANTS,
                                w->layer1 + (b.species * INVARIANTS + k) * HIDDEN, CHANNELS);
        for (int a = 0; a < b.count; ++a)
            for (int h = 0; h < HIDDEN; ++h) {
                const REAL x = one[a * HIDDEN + h];
                arguments[(b.first + a) * 2 * HIDDEN + h] = x;
                one[a * HIDDEN + h] = x * sigmoid(x);
            }
        add_product<HIDDEN>(two.data(), HIDDEN, one.data(), HIDDEN,
                            w->layer2 + b.species * HIDDEN * HIDDEN, HIDDEN);
        for (int a = 0; a < b.count; ++a)
            for (int h = 0; h < HIDDEN; ++h) {
                const REAL x = two[a * HIDDEN + h];
                arguments[((b.first + a) * 2 + 1) * HIDDEN + h] = x;
                hidden[(b.first + a) * HIDDEN + h] = one[a * HIDDEN + h] + x * sigmoid(x);
            }
    });
}

// Gradient with respect to the density, of those with respect to what `describe` makes (or null);
// of vectors and tensors they are (n, 2 channels, 3) and (n, 2 channels, 5).
// The weights are transposed: mix[out][in] of each path, layers (out, in).
void describe_backward(const Weights *w, const Atoms *atoms, const REAL *density,
                       const REAL *product, const REAL *arguments, const REAL *by_product,
                       const REAL *by_hidden, const REAL *by_vectors, const REAL *by_tensors,
                       REAL *out) {
    const int64_t n = atoms->n;
    std::vector<REAL> own(LMS * FLOATS), rows(ROWS * FLOATS), made(LMS * FLOATS);
    std::vector<REAL> by_own(LMS * FLOATS), by_made(LMS * FLOATS);
    std::vector<REAL> invariants(ATOMS * INVARIANTS), one(ATOMS * HIDDEN), two(ATOMS * HIDDEN);
    shared_out(atoms->counts, atoms->threads, [=](const Block &b) mutable {
        take(own.data(), density, b, n);
        std::fill(by_own.begin(), by_own.end(), REAL(0));
        std::fill(rows.begin(), rows.end(), REAL(0));
        if (by_product) take(by_made.data(), by_product, b, n);
        else std::fill(by_made.begin(), by_made.end(), REAL(0));
        for (int a = 0; a < b.count; ++a) {
            const int64_t atom = atoms->order[b.first + a] * 2 * CHANNELS;
            REAL *one = &by_own[a * CHANNELS], *two = &by_made[a * CHANNELS];
            if (by_vectors) {
                add_turned<1>(one, by_vectors + atom * 3);
                add_turned<1>(two, by_vectors + (atom + CHANNELS) * 3);
            }
            if (by_tensors) {
                add_turned<2>(one, by_tensors + atom * 5);
                add_turned<2>(two, by_tensors + (atom + CHANNELS) * 5);
            }
        }
        if (by_hidden) {
            take(made.data(), product, b, n);
            std::fill(one.begin(), one.end(), REAL(0));
            std::fill(two.begin(), two.end(), REAL(0));
            for (int a = 0; a < b.count; ++a)
                for (int h = 0; h < HIDDEN; ++h) {
                    const REAL x = arguments[((b.first + a) * 2 + 1) * HIDDEN + h], s = sigmoid(x);
                    one[a * HIDDEN + h] = by_hidden[(b.first + a) * HIDDEN + h];
                    two[a * HIDDEN + h] = one[a * HIDDEN + h] * s * (1 + x * (1 - s));
                }
            add_product<HIDDEN>(one.data(), HIDDEN, two.data(), HIDDEN,
                                w->layer2 + b.species * HIDDEN * HIDDEN, HIDDEN);
            for (int a = 0; a < b.count; ++a)
                for (int h = 0; h < HIDDEN; ++h) {
                    const REAL x = arguments[(b.first + a) * 2 * HIDDEN + h], s = sigmoid(x);
                    one[a * HIDDEN + h] *= s * (1 + x * (1 - s));
                }
            std::fill(invariants.begin(), invariants.end(), REAL(0));
            add_product<INVARIANTS>(invariants.data(), INVARIANTS, one.data(), HIDDEN,
                                    w->layer1 + b.species * INVARIANTS * HIDDEN, HIDDEN);
            for (int a = 0; a < ATOMS; ++a) {
                const REAL *from = &invariants[a * INVARIANTS];
                std::copy(from, from + CHANNELS, &by_own[a * CHANNELS]);
                for (int path = 0; path < 4; ++path)
                    std::copy(from + (1 + path) * CHANNELS, from + (2 + path) * CHANNELS,
                              &rows[path * FLOATS + a * CHANNELS]);
                for (int ell = 0; ell < 4; ++ell) {
                    const REAL norm = 1 / std::sqrt(REAL(WIDTH[ell]));
                    const REAL *cross = from + (5 + ell) * CHANNELS;
                    const REAL *square = from + (9 + ell) * CHANNELS;
                    for (int lm = FIRST[ell]; lm < FIRST[ell] + WIDTH[ell]; ++lm) {
                        const int at = lm * FLOATS + a * CHANNELS;
                        for (int c = 0; c < CHANNELS; ++c) {
                            by_own[at + c] += norm * cross[c] * made[at + c];
                            by_made[at + c] +=
                                norm * (cross[c] * own[at + c] + 2 * square[c] * made[at + c]);
                        }
                    }
                }
            }
        }
        const REAL *mix = w->mix + b.species * MIX;
        for (int ell = 0; ell < 4; ++ell)
            for (int path = 0; path <= PATHS[ell]; ++path, mix += CHANNELS * CHANNELS)
                for (int m = 0; m < WIDTH[ell]; ++m) {
                    REAL *to = path < PATHS[ell]
                        ? &rows[(ROW[ell] + path * WIDTH[ell] + m) * FLOATS]
                        : &by_own[(FIRST[ell] + m) * FLOATS];
                    add_product<CHANNELS>(to, CHANNELS, &by_made[(FIRST[ell] + m) * FLOATS],
                                          CHANNELS, mix, CHANNELS);
                }
        for (int64_t t = 0; t < w->n_coefficients; ++t) {
            const REAL *by = &rows[w->row[t] * FLOATS];
            const REAL scale = w->coefficient[t];
            const int64_t f = w->first[t] * FLOATS, s = w->second[t] * FLOATS;
            for (int c = 0; c < FLOATS; ++c) by_own[f + c] += scale * by[c] * own[s + c];
            for (int c = 0; c < FLOATS; ++c) by_own[s + c] += scale * by[c] * own[f + c];
        }
        put(out, by_own.data(), b, n);
    });
}

}  // extern "C"
