"""The XML of i-PI: inputs, RESTART files and checkpoints are all one kind of document."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from lrcalc.ipi_files.cells import Array
from lrcalc.ipi_files.quantities import factor

Node = ElementTree.Element


def read_document(path: str | Path) -> Node:
    """Root element ``<simulation>`` of an input, RESTART file or checkpoint.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not XML, or not of i-PI.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"the i-PI input {path} does not exist")
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not XML, so no input or RESTART of i-PI: {error}") from error
    if root.tag != "simulation":
        raise ValueError(f"{path} is not an i-PI input: it starts with <{root.tag}>")
    _expand_templates(root)
    return root


def _expand_templates(root: Node) -> None:
    """Put in place of each ``<system_template>`` the systems that i-PI makes of it."""
    for holder in root.findall("system_template"):
        labels = words(holder.find("labels"))
        place = list(root).index(holder)
        for instance in reversed(holder.findall("instance")):
            system = ElementTree.tostring(holder.findall("template/system")[0], "unicode")
            for label, value in zip(labels, words(instance), strict=False):
                system = system.replace(label, value)
            root.insert(place, ElementTree.fromstring(system))
        root.remove(holder)


def text(node: Node | None, default: str = "") -> str:
    """Text of an element without blanks and quotes around it."""
    return default if node is None or node.text is None else node.text.strip(" \t\n'\"")


def attribute(node: Node | None, name: str, default: str = "") -> str:
    """Attribute of an element without blanks and quotes around it."""
    return default if node is None else node.get(name, default).strip(" \t\n'\"")


def words(node: Node | None) -> list[str]:
    """Entries of an array ``[ a, b, ... ]``."""
    return text(node).strip("[] \n\t").replace(",", " ").split()


def number(node: Node | None, dimension: str | None = None) -> float | None:
    """One number in lrcalc's unit; None if it is missing or none."""
    if node is None:
        return None
    try:
        scale = factor(dimension, node.get("units")) if dimension else 1.0
        return float(text(node)) * scale
    except ValueError:
        return None


def array(node: Node | None, dimension: str | None = None) -> Array | None:
    """Numbers of an array in lrcalc's unit; None if it is missing.

    Raises
    ------
    ValueError
        For words that are no numbers, or a unit that i-PI does not have.
    """
    if node is None:
        return None
    scale = factor(dimension, node.get("units")) if dimension else 1.0
    return np.array(words(node), dtype=float) * scale


def pairs(node: Node | None) -> dict[str, str]:
    """Words of ``{ model: water, extras: dipole }``."""
    parts = (item.partition(":") for item in text(node).strip("{} \n\t").split(","))
    return {key.strip(" '\""): value.strip(" '\"") for key, colon, value in parts if colon}
