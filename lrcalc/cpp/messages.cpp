// What neighbours have heard themselves, summed over pairs, coupled and mixed, and the gradient:
// lrcalc/models/native/messages.py, the reference. SENT is a constant of the compilation, too.
#include <memory>

#include "neighbours.h"

namespace {

constexpr int SPOKEN = 9;                    // components of what is said, up to l = 2
constexpr int SAID = SPOKEN * SENT;
constexpr int LOUD = 3 * SENT;               // how loud, for each l of what is said
constexpr int PATHS[4] = {3, 5, 5, 4};       // products into each l
constexpr int ROW[4] = {0, 3, 18, 43};       // the first row of these products
constexpr int ROWS = 71;
constexpr int MIX = 17 * SENT * CHANNELS;
constexpr int ROOM = ATOMS * SENT;           // of one row of a block
static_assert(LANES % ATOMS == 0, "pairs are worked on eight at a time");

constexpr int ell_of(int component) { return component == 0 ? 0 : component < 4 ? 1 : 2; }

inline void add_times(REAL *__restrict to, REAL times, const REAL *__restrict from) {
#pragma GCC unroll 1
    for (int s = 0; s < SENT; ++s) to[s] += times * from[s];
}

}  // namespace

extern "C" {

// Coefficients of products of harmonics (`first`) with components that are said (`second`), and
// weights: radial (BASIS, 3, SENT); mix (species, paths of all l, SENT, CHANNELS), or transposed.
struct Hearing {
    const int64_t *row, *first, *second;
    const REAL *coefficient;
    int64_t n_coefficients;
    const REAL *radial, *mix;
};

// Who says what: the row of each atom, and the rows (n, 9, SENT).
struct Speech {
    const int64_t *place;
    const REAL *said;
};

}  // extern "C"

namespace {

// A register full of pairs of one atom, and what is heard over each.
struct Heard {
    Neighbours near;
    int64_t speaker[LANES];
    REAL loud[LANES * LOUD], heard[LANES * SAID];

    void set(const Pairs *p, const Hearing *w, const Speech *by, int64_t first, int64_t last) {
        near.set(p, first, last);
        loudness(loud, near.radial, w);
        for (int l = 0; l < near.count; ++l) {
            speaker[l] = by->place[p->neighbour[first + l]];
            weigh(heard + l * SAID, by->said + speaker[l] * SAID, loud + l * LOUD);
        }
        std::fill(heard + near.count * SAID, heard + LANES * SAID, REAL(0));
    }

    // (LANES, 3, SENT) of radial functions, or of their slopes.
    static void loudness(REAL *out, const REAL (*radial)[LANES], const Hearing *w) {
        std::fill(out, out + LANES * LOUD, REAL(0));
        for (int l = 0; l < LANES; l += ATOMS)
            add_product<LOUD>(out + l * LOUD, LOUD, *radial + l, 1, w->radial, BASIS, LANES);
    }

    // Components (9, SENT), each as loud as its l.
    static void weigh(REAL *__restrict out, const REAL *said, const REAL *loud) {
        for (int c = 0; c < SPOKEN; ++c)
#pragma GCC unroll 1
            for (int s = 0; s < SENT; ++s)
                out[c * SENT + s] = said[c * SENT + s] * loud[ell_of(c) * SENT + s];
    }
};

// Gradients of one atom's sum of outer products, on their way to its pairs.
struct Back {
    Heard here;
    REAL sum[LMS * SAID], turned[SAID * LMS], by_heard[LANES * SAID], louder[LANES * LOUD];

    // From the rows of atom a of a block.
    void set(const REAL *rows, int a, const Hearing *w) {
        std::fill(sum, sum + LMS * SAID, REAL(0));
        for (int64_t t = 0; t < w->n_coefficients; ++t) {
            REAL *to = sum + (w->first[t] * SPOKEN + w->second[t]) * SENT;
            add_times(to, w->coefficient[t], rows + w->row[t] * ROOM + a * SENT);
        }
        for (int lm = 0; lm < LMS; ++lm)
            for (int c = 0; c < SAID; ++c) turned[c * LMS + lm] = sum[lm * SAID + c];
    }

    void hear(const Pairs *p, const Hearing *w, const Speech *by, int64_t first, int64_t last) {
        here.set(p, w, by, first, last);
        std::fill(by_heard, by_heard + LANES * SAID, REAL(0));
        for (int l = 0; l < LANES; l += ATOMS)
            add_product<SAID>(by_heard + l * SAID, SAID, *here.near.angular + l, 1, sum, LMS,
                              LANES);
    }

    // With respect to vectors.
    void by_vectors(REAL *out, const Hearing *w, const Speech *by) {
        REAL along[LANES * LMS] = {}, angular[LMS][LANES], distance[LANES] = {};
        for (int l = 0; l < LANES; l += ATOMS)
            add_product<LMS>(along + l * LMS, LMS, here.heard + l * SAID, SAID, turned, SAID);
        for (int l = 0; l < LANES; ++l)
            for (int lm = 0; lm < LMS; ++lm) angular[lm][l] = along[l * LMS + lm];
        Heard::loudness(louder, here.near.slope, w);
        for (int l = 0; l < here.near.count; ++l) {
            const REAL *said = by->said + here.speaker[l] * SAID, *given = by_heard + l * SAID;
            REAL change[SENT] = {};
            for (int c = 0; c < SPOKEN; ++c)
#pragma GCC unroll 1
                for (int s = 0; s < SENT; ++s)
                    change[s] += given[c * SENT + s] * said[c * SENT + s]
                                 * louder[l * LOUD + ell_of(c) * SENT + s];
#pragma GCC unroll 1
            for (int s = 0; s < SENT; ++s) distance[l] += change[s];
        }
        here.near.gradient(out, angular, distance);
    }

    // With respect to what is said, over each pair, `weight` times if there are any.
    void by_said(REAL *out, const REAL *weight) {
        for (int l = 0; l < here.near.count; ++l) {
            if (weight)
#pragma GCC unroll 1
                for (int s = 0; s < LOUD; ++s) here.loud[l * LOUD + s] *= weight[l];
            Heard::weigh(out + l * SAID, by_heard + l * SAID, here.loud + l * LOUD);
        }
    }
};

}  // namespace

extern "C" {

// Messages (lm, n, channels).
void messages(const Pairs *p, const Hearing *w, const Speech *by, REAL *out) {
    std::vector<REAL> sum(LMS * SAID), rows(ROWS * ROOM), mixed(LMS * FLOATS);
    shared_out(p->counts, p->threads, [=](const Block &b) mutable {
        const auto held = std::make_unique<Heard>();  // too large for some stacks
        Heard &here = *held;
        std::fill(rows.begin(), rows.end(), REAL(0));
        for (int a = 0; a < b.count; ++a) {
            const Range own = range_of(p, p->order[b.first + a]);
            std::fill(sum.begin(), sum.end(), REAL(0));
            for (int64_t e = own.first; e < own.last; e += LANES) {
                here.set(p, w, by, e, own.last);
                for (int lm = 0; lm < LMS; lm += ATOMS)
                    add_product<SAID>(&sum[lm * SAID], SAID, here.near.angular[lm], LANES,
                                      here.heard, here.near.count);
            }
            for (int64_t t = 0; t < w->n_coefficients; ++t) {
                const REAL *from = &sum[(w->first[t] * SPOKEN + w->second[t]) * SENT];
                add_times(&rows[w->row[t] * ROOM + a * SENT], w->coefficient[t], from);
            }
        }
        std::fill(mixed.begin(), mixed.end(), REAL(0));
        const REAL *mix = w->mix + b.species * MIX;
        for (int ell = 0; ell < 4; ++ell)
            for (int path = 0; path < PATHS[ell]; ++path, mix += SENT * CHANNELS)
                for (int m = 0; m < WIDTH[ell]; ++m)
                    add_product<CHANNELS>(&mixed[(FIRST[ell] + m) * FLOATS], CHANNELS,
                                          &rows[(ROW[ell] + path * WIDTH[ell] + m) * ROOM], SENT,
                                          mix, SENT);
        put(out, mixed.data(), b, p->n);
    });
}

// Gradients with respect to vectors (n_pairs, 3), unless null, and to what is said (n, 9, SENT), to
// which a pair adds `weight` times, if there are weights.
void messages_backward(const Pairs *p, const Hearing *w, const Speech *by, const REAL *given,
                       const REAL *weight, REAL *vectors, REAL *said) {
    const std::vector<Block> blocks = blocks_of(p->counts);
    std::fill(said, said + p->n * SAID, REAL(0));
    // Any thread's pairs may add to any atom: those of a few blocks are kept, and then added by
    // the thread that an atom belongs to, in an order that does not depend on threads.
    const size_t together = 4 * std::max<int64_t>(1, p->threads);
    std::vector<REAL> kept;
    std::vector<int64_t> speaker, start;
    for (size_t first = 0; first < blocks.size(); first += together) {
        const size_t last = std::min(blocks.size(), first + together);
        start.assign(1, 0);
        for (size_t k = first; k < last; ++k) {
            int64_t count = start.back();
            for (int a = 0; a < blocks[k].count; ++a) {
                const Range own = range_of(p, p->order[blocks[k].first + a]);
                count += own.last - own.first;
            }
            start.push_back(count);
        }
        if (kept.size() < size_t(start.back() * SAID)) kept.resize(start.back() * SAID);
        speaker.resize(start.back());
        in_parts(last - first, p->threads, [&](int64_t part, int64_t parts) {
            std::vector<REAL> mixed(LMS * FLOATS), rows(ROWS * ROOM);
            const auto held = std::make_unique<Back>();
            Back &back = *held;
            for (size_t k = first + part; k < last; k += parts) {
                const Block &b = blocks[k];
                take(mixed.data(), given, b, p->n);
                std::fill(rows.begin(), rows.end(), REAL(0));
                const REAL *mix = w->mix + b.species * MIX;
                for (int ell = 0; ell < 4; ++ell)
                    for (int path = 0; path < PATHS[ell]; ++path, mix += SENT * CHANNELS)
                        for (int m = 0; m < WIDTH[ell]; ++m)
                            add_product<SENT>(&rows[(ROW[ell] + path * WIDTH[ell] + m) * ROOM],
                                              SENT, &mixed[(FIRST[ell] + m) * FLOATS], CHANNELS,
                                              mix, CHANNELS);
                int64_t at = start[k - first];
                for (int a = 0; a < b.count; ++a) {
                    back.set(rows.data(), a, w);
                    const Range own = range_of(p, p->order[b.first + a]);
                    for (int64_t e = own.first; e < own.last; e += LANES) {
                        const Heard &here = back.here;
                        back.hear(p, w, by, e, own.last);
                        if (vectors) back.by_vectors(vectors + 3 * e, w, by);
                        back.by_said(&kept[at * SAID], weight ? weight + e : nullptr);
                        std::copy(here.speaker, here.speaker + here.near.count, &speaker[at]);
                        at += here.near.count;
                    }
                }
            }
        });
        in_parts(p->n, p->threads, [&](int64_t part, int64_t parts) {
            for (size_t k = 0; k < speaker.size(); ++k) {
                if (speaker[k] % parts != part) continue;
                REAL *to = said + speaker[k] * SAID;
                for (int c = 0; c < SAID; ++c) to[c] += kept[k * SAID + c];
            }
        });
    }
}

}  // extern "C"
