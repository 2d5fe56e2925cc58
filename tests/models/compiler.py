"""For tests of compiled functions: where there is a compiler.

What they compile goes where it always does (`lrcalc.compiler.cache_folder`), under names that
follow from the sources: so each is compiled once for all tests, and for the next run of them.
"""

import shutil

import pytest

from lrcalc.compiler import COMPILERS

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler")
