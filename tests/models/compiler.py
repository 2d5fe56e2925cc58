"""For tests of compiled functions: where there is a compiler, and each compiled once for a file."""

import shutil

import pytest

from lrcalc import compiled
from lrcalc.compiler import COMPILERS

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler")


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Compile once for all tests of a file, into a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRCALC_CACHE", str(tmp_path_factory.mktemp("cache")))
        compiled.library.cache_clear()
        yield
        compiled.library.cache_clear()
