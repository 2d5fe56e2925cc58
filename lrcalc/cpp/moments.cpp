// Dipole of local charges, and its gradient: lrcalc/models/dipole.py, its reference.
//
// REAL is a constant of the compilation. Positions and dipoles of structures are double.
#include <algorithm>
#include <cstdint>

extern "C" {

struct Handed {
    const int64_t *rows, *first, *batch;  // (count), pairs over which charge goes; of all: centres
    const REAL *vectors, *amount, *kept;  // (pairs, 3), (count), (n)
    int64_t count, pairs, n, structures;
};

// Sum of kept·r - amount·vector (+ dipoles, unless null) of each structure (structures, 3).
void moments(const Handed *at, const double *positions, const REAL *dipole, double *out) {
    std::fill(out, out + 3 * at->structures, 0.0);
    for (int64_t t = 0; t < at->count; ++t) {
        const int64_t row = at->rows[t];
        double *to = out + 3 * at->batch[at->first[row]];
        const double amount = at->amount[t];
        for (int k = 0; k < 3; ++k) to[k] -= amount * double(at->vectors[3 * row + k]);
    }
    for (int64_t i = 0; i < at->n; ++i) {
        double *to = out + 3 * at->batch[i];
        for (int k = 0; k < 3; ++k) {
            to[k] += double(at->kept[i]) * positions[3 * i + k];
            if (dipole) to[k] += double(dipole[3 * i + k]);
        }
    }
}

// Gradients of dipoles that are weighed by `given` (structures, 3): by vectors (pairs, 3), amounts,
// positions and, unless null, dipoles.
void moments_backward(const Handed *at, const double *given, REAL *vectors, REAL *amount,
                      double *positions, REAL *dipole) {
    std::fill(vectors, vectors + 3 * at->pairs, REAL(0));
    for (int64_t t = 0; t < at->count; ++t) {
        const int64_t row = at->rows[t];
        const double *weight = given + 3 * at->batch[at->first[row]];
        double along = 0.0;
        for (int k = 0; k < 3; ++k) {
            along -= weight[k] * double(at->vectors[3 * row + k]);
            vectors[3 * row + k] = REAL(-double(at->amount[t]) * weight[k]);
        }
        amount[t] = REAL(along);
    }
    for (int64_t i = 0; i < at->n; ++i) {
        const double *weight = given + 3 * at->batch[i];
        for (int k = 0; k < 3; ++k) {
            positions[3 * i + k] = double(at->kept[i]) * weight[k];
            if (dipole) dipole[3 * i + k] = REAL(weight[k]);
        }
    }
}

}  // extern "C"
