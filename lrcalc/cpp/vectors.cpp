// Vectors of pairs, and the gradient with respect to positions: lrcalc/neighbors.py, its reference.
//
// REAL is a constant of the compilation: the type of the vectors. Positions are double.
#include "threads.h"

extern "C" {

struct Ends {
    const double *positions, *cells;         // (n, 3), (structures, 3, 3)
    const int64_t *batch;                    // structure of each atom
    const int64_t *first, *second, *shift;   // of each pair: atoms, and translation (n_pairs, 3)
    int64_t n_pairs, n, structures, threads;
};

// (n_pairs, 3), from the first atom to the second.
void vectors(const Ends *at, REAL *out) {
    const int64_t chunk = 1024, chunks = (at->n_pairs + chunk - 1) / chunk;
    in_parts(chunks, at->threads, [=](int64_t part, int64_t parts) {
        const int64_t last = std::min(at->n_pairs, chunks * (part + 1) / parts * chunk);
        for (int64_t e = chunks * part / parts * chunk; e < last; ++e) {
            const double *here = at->positions + 3 * at->first[e];
            const double *there = at->positions + 3 * at->second[e];
            const double *cell = at->cells + 9 * at->batch[at->first[e]];
            const int64_t *s = at->shift + 3 * e;
            const double a = double(s[0]), b = double(s[1]), c = double(s[2]);
            for (int k = 0; k < 3; ++k)
                out[3 * e + k] = REAL(there[k] - here[k]
                                      + (a * cell[k] + b * cell[3 + k] + c * cell[6 + k]));
        }
    });
}

// Gradient with respect to positions (n, 3) and, unless null, to cells. Each thread adds to atoms and
// structures of its own, all pairs in turn.
void vectors_backward(const Ends *at, const REAL *given, double *out, double *cells) {
    std::fill(out, out + 3 * at->n, 0.0);
    in_parts(at->n, at->threads, [=](int64_t part, int64_t parts) {
        const int64_t low = at->n * part / parts, high = at->n * (part + 1) / parts;
        for (int64_t e = 0; e < at->n_pairs; ++e) {
            const int64_t i = at->first[e], j = at->second[e];
            if (low <= i && i < high)
                for (int k = 0; k < 3; ++k) out[3 * i + k] -= double(given[3 * e + k]);
            if (low <= j && j < high)
                for (int k = 0; k < 3; ++k) out[3 * j + k] += double(given[3 * e + k]);
        }
    });
    if (!cells) return;
    std::fill(cells, cells + 9 * at->structures, 0.0);
    in_parts(at->structures, at->threads, [=](int64_t part, int64_t parts) {
        for (int64_t e = 0; e < at->n_pairs; ++e) {
            const int64_t structure = at->batch[at->first[e]];
            if (structure % parts != part) continue;
            for (int a = 0; a < 3; ++a)
                for (int k = 0; k < 3; ++k)
                    cells[9 * structure + 3 * a + k] +=
                        double(at->shift[3 * e + a]) * double(given[3 * e + k]);
        }
    });
}

}  // extern "C"
