"""The field of an object seen as three attributes, one for each kind."""

from __future__ import annotations

from typing import Any, Protocol, overload

import numpy as np

from lrcalc.fields import KINDS, Field, check_field


class HoldsField(Protocol):
    """Whoever has a `FieldView`."""

    field: Any

    @property
    def field_now(self) -> Field | None:
        """Constant field of this moment."""


class FieldView:
    """One kind of the ``field`` of its owner as an attribute: a read-only array (3,), or None.

    Setting it sets the field, and None takes it away; a field of another kind is refused.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.__doc__ = f"{kind} (3,), {KINDS[kind]}, or None; settable, see `field`."

    @overload
    def __get__(self, owner: None, owner_type: type) -> FieldView: ...

    @overload
    def __get__(self, owner: HoldsField, owner_type: type) -> np.ndarray | None: ...

    def __get__(self, owner: HoldsField | None, owner_type: type) -> FieldView | np.ndarray | None:
        """Value of this moment."""
        if owner is None:
            return self
        now = owner.field_now
        return now.array if now is not None and now.kind == self.kind else None

    def __set__(self, owner: HoldsField, value: Any) -> None:
        """Hold a vector or a function of time, or nothing."""
        held = owner.field
        if value is None:
            if held is None or held.kind == self.kind:
                owner.field = None
            return
        other = None if held is None or held.kind == self.kind else {held.kind: held.source}
        owner.field = Field.from_arguments(**{self.kind: value}, **(other or {}))


class FieldViews:
    """Attributes of whoever has a ``field`` and its value of this moment, ``field_now``."""

    electric_field = FieldView("electric_field")
    electric_displacement = FieldView("electric_displacement")
    reduced_field = FieldView("reduced_field")


class HoldsConstantField(FieldViews):
    """Whoever holds one field as long as it is not changed."""

    @property
    def field(self) -> Field | None:
        """What is held, or None; settable between calls."""
        return self._field

    @field.setter
    def field(self, value: Field | None) -> None:
        if value is not None and check_field(value).varies:
            raise ValueError(
                f"`field` is {value}, but an evaluator knows no time; give it `field.at(time)`, "
                "or take LRCalculator"
            )
        self._field = value

    @property
    def field_now(self) -> Field | None:
        """The same: it is constant."""
        return self._field

    @property
    def in_field(self) -> bool:
        """Whether a field, a reduced field or a displacement is held."""
        return self._field is not None
