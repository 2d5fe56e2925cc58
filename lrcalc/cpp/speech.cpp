// What atoms say to their neighbours, and the gradient: `MessageRound._sent` of
// lrcalc/models/native/messages.py, the reference.
#include "blocks.h"

namespace {

constexpr int SPOKEN = 9;               // components of what is said, up to l = 2
constexpr int ROOM = ATOMS * SENT;      // of one of them for a block
constexpr int SCALAR = HIDDEN * SENT, SENDER = CHANNELS * SENT;

constexpr int ell_of(int component) { return component < 4 ? 1 : 2; }

}  // namespace

extern "C" {

// Atoms sorted by species, and weights: scalar (species, HIDDEN, SENT) and sender (l = 1 and 2,
// species, density and product, CHANNELS, SENT); or with the last two axes exchanged.
struct Speakers {
    const int64_t *counts;
    int64_t n, threads;
    const REAL *scalar, *sender;
};

// What is said (n, 9, SENT) of hidden (n, HIDDEN), density and product (lm, n, CHANNELS).
void speak(const Speakers *by, const REAL *hidden, const REAL *density, const REAL *product,
           REAL *out) {
    std::vector<REAL> scalars(ATOMS * HIDDEN), own(LMS * FLOATS), made(LMS * FLOATS);
    std::vector<REAL> said(SPOKEN * ROOM);
    shared_out(by->counts, by->threads, [=](const Block &b) mutable {
        take(own.data(), density, b, by->n);
        take(made.data(), product, b, by->n);
        const REAL *from = hidden + b.first * HIDDEN;
        std::copy(from, from + b.count * HIDDEN, scalars.begin());
        std::fill(said.begin(), said.end(), REAL(0));
        add_product<SENT>(said.data(), SENT, scalars.data(), HIDDEN,
                          by->scalar + b.species * SCALAR, HIDDEN);
        for (int c = 1; c < SPOKEN; ++c) {
            const REAL *mix = by->sender + ((ell_of(c) - 1) * SPECIES + b.species) * 2 * SENDER;
            add_product<SENT>(&said[c * ROOM], SENT, &own[c * FLOATS], CHANNELS, mix, CHANNELS);
            add_product<SENT>(&said[c * ROOM], SENT, &made[c * FLOATS], CHANNELS, mix + SENDER,
                              CHANNELS);
        }
        for (int a = 0; a < b.count; ++a)
            for (int c = 0; c < SPOKEN; ++c) {
                const REAL *row = &said[c * ROOM + a * SENT];
                std::copy(row, row + SENT, out + ((b.first + a) * SPOKEN + c) * SENT);
            }
    });
}

// Gradients with respect to hidden, density and product; weights with axes exchanged.
void speak_backward(const Speakers *by, const REAL *given, REAL *hidden, REAL *density,
                    REAL *product) {
    std::vector<REAL> scalars(ATOMS * HIDDEN), own(LMS * FLOATS), made(LMS * FLOATS);
    std::vector<REAL> said(SPOKEN * ROOM);
    shared_out(by->counts, by->threads, [=](const Block &b) mutable {
        for (int a = 0; a < b.count; ++a)
            for (int c = 0; c < SPOKEN; ++c) {
                const REAL *row = given + ((b.first + a) * SPOKEN + c) * SENT;
                std::copy(row, row + SENT, &said[c * ROOM + a * SENT]);
            }
        std::fill(scalars.begin(), scalars.end(), REAL(0));
        std::fill(own.begin(), own.end(), REAL(0));  // also of components that are not said
        std::fill(made.begin(), made.end(), REAL(0));
        add_product<HIDDEN>(scalars.data(), HIDDEN, said.data(), SENT,
                            by->scalar + b.species * SCALAR, SENT);
        for (int c = 1; c < SPOKEN; ++c) {
            const REAL *mix = by->sender + ((ell_of(c) - 1) * SPECIES + b.species) * 2 * SENDER;
            add_product<CHANNELS>(&own[c * FLOATS], CHANNELS, &said[c * ROOM], SENT, mix, SENT);
            add_product<CHANNELS>(&made[c * FLOATS], CHANNELS, &said[c * ROOM], SENT, mix + SENDER,
                                  SENT);
        }
        std::copy(scalars.begin(), scalars.begin() + b.count * HIDDEN, hidden + b.first * HIDDEN);
        put(density, own.data(), b, by->n);
        put(product, made.data(), b, by->n);
    });
}

}  // extern "C"
