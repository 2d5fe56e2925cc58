"""Spreading on a mesh and gathering from it, with any derivatives of B-splines.

A program is an atom; its lanes are the p x p points of a plate of y and z, and it goes through p
plates. Spline weights are polynomials that stay in registers. Derivatives along the three mesh
coordinates come in the order of `COMPONENTS`: 1; x, y, z; xx, xy, xz, yy, yz, zz; ...
"""

from __future__ import annotations

import triton
import triton.language as tl

HIGHEST = 6
"""Largest order of derivatives."""

COMPONENTS = [
    (n - y - z, y, z)
    for n in range(HIGHEST + 1)
    for x in range(n, -1, -1)
    for y in range(n - x, -1, -1)
    for z in [n - x - y]
]
_PLACE = {component: k for k, component in enumerate(COMPONENTS)}

X, Y, Z = (tl.constexpr(tuple(c[axis] for c in COMPONENTS)) for axis in range(3))
_LOW = [(x, y, z) for x, y, z in COMPONENTS if x + y + z < HIGHEST]
UP_X = tl.constexpr(tuple(_PLACE[x + 1, y, z] for x, y, z in _LOW))
UP_Y = tl.constexpr(tuple(_PLACE[x, y + 1, z] for x, y, z in _LOW))
UP_Z = tl.constexpr(tuple(_PLACE[x, y, z + 1] for x, y, z in _LOW))
COUNT = tl.constexpr(tuple((n + 1) * (n + 2) * (n + 3) // 6 for n in range(HIGHEST + 1)))


@triton.jit
def _weight(matrix, v, node, derivative: tl.constexpr, mask, P: tl.constexpr, STRIDE: tl.constexpr):
    """Weights of ``node`` or of their derivative, polynomials of v."""
    at = matrix + derivative * P + node
    value = tl.load(at + (P - 1) * STRIDE, mask=mask, other=0.0)
    for power in tl.static_range(1, P):
        value = value * v + tl.load(at + (P - 1 - power) * STRIDE, mask=mask, other=0.0)
    return value


@triton.jit
def _plate(at, atom, K2, K3, P: tl.constexpr):
    """Position in its cell, lowest node of x, and where the nodes of y and z are."""
    x, y, z = tl.load(at + 3 * atom), tl.load(at + 3 * atom + 1), tl.load(at + 3 * atom + 2)
    i, j, k = tl.floor(x), tl.floor(y), tl.floor(z)
    return x - i - 0.5, y - j - 0.5, z - k - 0.5, i.to(tl.int32), j.to(tl.int32), k.to(tl.int32)


@triton.jit
def _wrapped(node, size):
    """Remainder that is never negative."""
    rest = node % size
    return tl.where(rest < 0, rest + size, rest)


@triton.jit(do_not_specialize=["K1", "K2", "K3"])
def spread(
    at, moments, batch, matrix, mesh, K1, K2, K3,
    ORDER: tl.constexpr, P: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
):  # fmt: skip
    """Add ``Σ_a moments_a D_a W`` of an atom to the mesh."""
    atom = tl.program_id(0).to(tl.int64)
    vx, vy, vz, i, j, k = _plate(at, atom, K2, K3, P)
    row = tl.arange(0, WIDTH)[:, None]
    column = tl.arange(0, WIDTH)[None, :]
    inside = (row < P) & (column < P)
    where = _wrapped(j + row - (P - 1), K2) * K3 + _wrapped(k + column - (P - 1), K3)
    wy, wz = (), ()
    for n in tl.static_range(ORDER + 1):
        wy = wy + (_weight(matrix, vy, row, n, row < P, P, STRIDE),)
        wz = wz + (_weight(matrix, vz, column, n, column < P, P, STRIDE),)
    plates = ()
    for n in tl.static_range(ORDER + 1):
        plate = tl.zeros((WIDTH, WIDTH), dtype=mesh.dtype.element_ty)
        for c in tl.static_range(tl.constexpr(COUNT[ORDER])):
            if X[c] == n:
                moment = tl.load(moments + atom * COUNT[ORDER] + c)
                plate += (moment * wy[Y[c]]) * wz[Z[c]]
        plates = plates + (plate,)
    base = mesh + tl.load(batch + atom) * (K1.to(tl.int64) * K2 * K3)
    for step in range(P):
        value = _weight(matrix, vx, step, 0, True, P, STRIDE) * plates[0]
        for n in tl.static_range(1, ORDER + 1):
            value += _weight(matrix, vx, step, n, True, P, STRIDE) * plates[n]
        slab = _wrapped(i + step - (P - 1), K1).to(tl.int64) * (K2 * K3)
        tl.atomic_add(base + slab + where, value, mask=inside, sem="relaxed")


@triton.jit(do_not_specialize=["K1", "K2", "K3"])
def gather(
    at, moments, batch, matrix, mesh, values, slopes, K1, K2, K3,
    ORDER: tl.constexpr, VALUES: tl.constexpr, SLOPES: tl.constexpr,
    P: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
):  # fmt: skip
    """``D_a W`` times the mesh, up to ORDER, and the slopes of their sum with ``moments``."""
    atom = tl.program_id(0).to(tl.int64)
    TOP: tl.constexpr = ORDER + SLOPES
    vx, vy, vz, i, j, k = _plate(at, atom, K2, K3, P)
    row = tl.arange(0, WIDTH)[:, None]
    column = tl.arange(0, WIDTH)[None, :]
    inside = (row < P) & (column < P)
    where = _wrapped(j + row - (P - 1), K2) * K3 + _wrapped(k + column - (P - 1), K3)
    base = mesh + tl.load(batch + atom) * (K1.to(tl.int64) * K2 * K3)
    plates = ()
    for _ in tl.static_range(TOP + 1):
        plates = plates + (tl.zeros((WIDTH, WIDTH), dtype=mesh.dtype.element_ty),)
    for step in range(P):
        slab = _wrapped(i + step - (P - 1), K1).to(tl.int64) * (K2 * K3)
        near = tl.load(base + slab + where, mask=inside, other=0.0)
        grown = ()
        for n in tl.static_range(TOP + 1):
            grown = grown + (plates[n] + _weight(matrix, vx, step, n, True, P, STRIDE) * near,)
        plates = grown
    wy, wz = (), ()
    for n in tl.static_range(TOP + 1):
        wy = wy + (_weight(matrix, vy, row, n, row < P, P, STRIDE),)
        wz = wz + (_weight(matrix, vz, column, n, column < P, P, STRIDE),)
    found = ()
    for c in tl.static_range(tl.constexpr(COUNT[TOP])):
        line = tl.sum(plates[X[c]] * wy[Y[c]], 0)[None, :]
        found = found + (tl.sum(line * wz[Z[c]]),)
    if VALUES:
        for c in tl.static_range(tl.constexpr(COUNT[ORDER])):
            tl.store(values + atom * COUNT[ORDER] + c, found[c])
    if SLOPES:
        moment = tl.load(moments + atom * COUNT[ORDER])
        sx, sy, sz = moment * found[1], moment * found[2], moment * found[3]
        for c in tl.static_range(1, tl.constexpr(COUNT[ORDER])):
            moment = tl.load(moments + atom * COUNT[ORDER] + c)
            sx += moment * found[UP_X[c]]
            sy += moment * found[UP_Y[c]]
            sz += moment * found[UP_Z[c]]
        tl.store(slopes + 3 * atom, sx)
        tl.store(slopes + 3 * atom + 1, sy)
        tl.store(slopes + 3 * atom + 2, sz)
