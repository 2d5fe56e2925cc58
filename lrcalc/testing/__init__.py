"""Checks that users can run on their own structures, multipoles, backbones and models."""

from lrcalc.testing.backbone import check_backbone
from lrcalc.testing.electrostatics import check_electrostatics
from lrcalc.testing.model import check_model

__all__ = ["check_backbone", "check_electrostatics", "check_model"]
