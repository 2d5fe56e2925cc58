"""The file that i-PI loads: ``<pes>custom</pes><pes_path>.../lrcalc_pes.py</pes_path>``.

i-PI registers it under its bare file name, so it may only import absolutely and must not be called
like a package. Everything is in `lrcalc.ipi.driver`.
"""

from lrcalc.ipi.driver import LRCalcDriver

__DRIVER_NAME__ = "lrcalc"
__DRIVER_CLASS__ = "LRCalcDriver"
__all__ = ["LRCalcDriver"]
