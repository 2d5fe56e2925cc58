"""Kernels are not used unless they are switched on: here they are."""

import pytest


@pytest.fixture(autouse=True)
def kernels_on(monkeypatch):
    monkeypatch.setenv("LRCALC_KERNELS", "1")
