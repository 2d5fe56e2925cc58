"""ASE calculators that a command line names."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def parse_options(text: str | None) -> dict[str, Any]:
    """Keywords of a calculator from JSON."""
    if text is None:
        return {}
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"`--calculator-options` is {text!r}, which is not JSON: {error}"
        ) from None
    if not isinstance(options, dict):
        raise ValueError(f'`--calculator-options` is {text!r} but must be like {{"key": 1}}')
    return options


def load_calculator(spec: str, options: dict[str, Any]) -> Any:
    """ASE calculator from ``module:factory``, or ours from ``lrcalc:MODEL``.

    The module is imported by its name, also from the current folder; files of models are only ever
    read as data.
    """
    module, colon, name = spec.partition(":")
    if not (colon and name and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(
            f"`--calculator` is {spec!r} but must be importable as module:factory, or lrcalc:MODEL"
        )
    if module == "lrcalc":
        from lrcalc.calculator import LRCalculator

        return LRCalculator(name, **{"dtype": "float64", **options})
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        made: Any = importlib.import_module(module)
        for part in name.split("."):
            made = getattr(made, part)
    except Exception as error:  # whatever the user's own module raises
        raise ValueError(
            f"`--calculator` {spec!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(here)
    try:
        calculator = made(**options)
    except Exception as error:  # whatever the user's own factory raises
        raise ValueError(
            f"`--calculator` {spec!r} with {options}: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(calculator, "get_property"):
        raise ValueError(
            f"`--calculator` {spec!r} made a {type(calculator).__name__}, no calculator"
        )
    return calculator
