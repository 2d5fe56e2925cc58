"""Checks that users can run on their own structures, multipoles and backbones."""

from lrcalc.testing.backbone import check_backbone
from lrcalc.testing.electrostatics import check_electrostatics

__all__ = ["check_backbone", "check_electrostatics"]
