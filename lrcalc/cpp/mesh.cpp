// Spreading on a mesh and gathering from it, with any derivatives of B-splines.
//
// As lrcalc/electrostatics/mesh.py, which is the reference, does with tensors. Constants of the
// compilation: REAL, and P, the order of the splines. Derivatives along the three mesh coordinates
// come as 1; x, y, z; xx, xy, xz, yy, yz, zz; ...
#include <cmath>

#include "threads.h"

namespace {

constexpr int TOP = 7;  // more than the highest derivative

constexpr int count(int order) { return (order + 1) * (order + 2) * (order + 3) / 6; }

constexpr int place(int x, int y, int z) {
    const int n = x + y + z, rest = y + z;
    return n * (n + 1) * (n + 2) / 6 + rest * (rest + 1) / 2 + z;
}

inline int64_t wrapped(int64_t node, int64_t size) {
    const int64_t rest = node % size;
    return rest < 0 ? rest + size : rest;
}

}  // namespace

extern "C" {

struct Grid {
    const REAL *at;        // mesh coordinates (atoms, 3)
    const int64_t *batch;  // (atoms)
    const REAL *matrix;    // powers to weights and their derivatives, (P, stride)
    int64_t stride, atoms, structures, k1, k2, k3, order, threads;
};

}  // extern "C"

namespace {

// Splines of an atom, and the mesh points that they touch.
struct Splines {
    REAL weight[3][TOP + 1][P];
    int64_t plane[P], row[P], column[P];
    bool whole;  // columns follow one another

    void set(const Grid *g, int64_t atom, int top) {
        int64_t lowest[3];
        for (int axis = 0; axis < 3; ++axis) {
            const REAL t = g->at[3 * atom + axis], floor = std::floor(t), v = t - floor - REAL(0.5);
            lowest[axis] = int64_t(floor) - (P - 1);
            for (int n = 0; n <= top; ++n) {
                REAL *w = weight[axis][n];
                const REAL *from = g->matrix + n * P;
                for (int j = 0; j < P; ++j) w[j] = from[(P - 1) * g->stride + j];
                for (int power = P - 2; power >= 0; --power)
                    for (int j = 0; j < P; ++j) w[j] = w[j] * v + from[power * g->stride + j];
            }
        }
        for (int j = 0; j < P; ++j) {
            plane[j] = g->batch[atom] * g->k1 + wrapped(lowest[0] + j, g->k1);
            row[j] = wrapped(lowest[1] + j, g->k2) * g->k3;
            column[j] = wrapped(lowest[2] + j, g->k3);
        }
        whole = column[P - 1] - column[0] == P - 1;
    }
};

}  // namespace

extern "C" {

// Add sum_a moments_a D_a W of all atoms to a mesh (structures, k1, k2, k3) of zeros. Threads have
// planes of their own.
void spread(const Grid *g, const REAL *moments, REAL *mesh) {
    const int64_t planes = g->structures * g->k1, size = g->k2 * g->k3;
    const int order = int(g->order);
    in_parts(planes, g->threads, [=](int64_t part, int64_t parts) {
        const int64_t low = planes * part / parts, high = planes * (part + 1) / parts;
        Splines s;
        REAL plate[TOP][P * P];
        for (int64_t atom = 0; atom < g->atoms; ++atom) {
            if (parts > 1) {
                const int64_t x = int64_t(std::floor(g->at[3 * atom]));
                bool mine = false;
                for (int j = 0; j < P; ++j) {
                    const int64_t plane = g->batch[atom] * g->k1 + wrapped(x - j, g->k1);
                    mine = mine || (plane >= low && plane < high);
                }
                if (!mine) continue;
            }
            s.set(g, atom, order);
            const REAL *own = moments + atom * count(order);
            for (int n = 0; n <= order; ++n) {
                std::fill(plate[n], plate[n] + P * P, REAL(0));
                for (int y = 0; y <= order - n; ++y)
                    for (int z = 0; z <= order - n - y; ++z)
                        for (int j = 0; j < P; ++j) {
                            const REAL m = own[place(n, y, z)] * s.weight[1][y][j];
                            for (int k = 0; k < P; ++k) plate[n][j * P + k] += m * s.weight[2][z][k];
                        }
            }
            for (int i = 0; i < P; ++i) {
                if (s.plane[i] < low || s.plane[i] >= high) continue;
                REAL *to = mesh + s.plane[i] * size;
                for (int j = 0; j < P; ++j) {
                    REAL value[P] = {};
                    for (int n = 0; n <= order; ++n)
                        for (int k = 0; k < P; ++k)
                            value[k] += s.weight[0][n][i] * plate[n][j * P + k];
                    REAL *line = to + s.row[j];
                    if (s.whole)
                        for (int k = 0; k < P; ++k) line[s.column[0] + k] += value[k];
                    else
                        for (int k = 0; k < P; ++k) line[s.column[k]] += value[k];
                }
            }
        }
    });
}

// Values (atoms, count) of D_a W times the mesh and, if there are slopes (atoms, 3), those of their
// sum with the moments.
void gather(const Grid *g, const REAL *mesh, const REAL *moments, REAL *values, REAL *slopes) {
    const int64_t size = g->k2 * g->k3;
    const int order = int(g->order), top = order + (slopes ? 1 : 0);
    in_parts(g->atoms, g->threads, [=](int64_t part, int64_t parts) {
        Splines s;
        REAL plate[TOP + 1][P * P], found[count(TOP)];
        for (int64_t atom = g->atoms * part / parts; atom < g->atoms * (part + 1) / parts; ++atom) {
            s.set(g, atom, top);
            for (int n = 0; n <= top; ++n) std::fill(plate[n], plate[n] + P * P, REAL(0));
            for (int i = 0; i < P; ++i)
                for (int j = 0; j < P; ++j) {
                    const REAL *line = mesh + s.plane[i] * size + s.row[j];
                    REAL near[P];
                    if (s.whole)
                        for (int k = 0; k < P; ++k) near[k] = line[s.column[0] + k];
                    else
                        for (int k = 0; k < P; ++k) near[k] = line[s.column[k]];
                    for (int n = 0; n <= top; ++n)
                        for (int k = 0; k < P; ++k)
                            plate[n][j * P + k] += s.weight[0][n][i] * near[k];
                }
            for (int n = 0; n <= top; ++n)
                for (int y = 0; y <= top - n; ++y) {
                    REAL line[P] = {};
                    for (int j = 0; j < P; ++j)
                        for (int k = 0; k < P; ++k)
                            line[k] += s.weight[1][y][j] * plate[n][j * P + k];
                    for (int z = 0; z <= top - n - y; ++z) {
                        REAL sum = 0;
                        for (int k = 0; k < P; ++k) sum += line[k] * s.weight[2][z][k];
                        found[place(n, y, z)] = sum;
                    }
                }
            std::copy(found, found + count(order), values + atom * count(order));
            if (!slopes) continue;
            const REAL *own = moments + atom * count(order);
            REAL sum[3] = {};
            for (int n = 0; n <= order; ++n)
                for (int y = 0; y <= order - n; ++y)
                    for (int z = 0; z <= order - n - y; ++z) {
                        const REAL m = own[place(n, y, z)];
                        sum[0] += m * found[place(n + 1, y, z)];
                        sum[1] += m * found[place(n, y + 1, z)];
                        sum[2] += m * found[place(n, y, z + 1)];
                    }
            std::copy(sum, sum + 3, slopes + 3 * atom);
        }
    });
}

}  // extern "C"
