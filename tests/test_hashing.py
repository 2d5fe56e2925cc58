"""Hashes stay what files of earlier versions hold: model cards, states of runs."""

import hashlib

import numpy as np

from lrcalc.hashing import hash_of, structure_hash
from tests.sample_structures import water_box


def test_a_hash_is_that_of_the_bytes_of_its_parts():
    numbers = np.arange(6.0).reshape(2, 3)
    expected = hashlib.sha256(b"name" + numbers.T.tobytes() + b"none").hexdigest()
    assert hash_of("name", numbers.T, b"none", length=20) == expected[:20]
    assert hash_of(numbers) != hash_of(numbers + 1e-15)


def test_frames_are_known_by_the_hash_of_the_cards():
    atoms = water_box(n=3)
    content = np.round(atoms.positions, 4).tobytes() + atoms.numbers.tobytes()
    assert structure_hash(atoms) == hashlib.sha256(content).hexdigest()[:10] == "b0e015b88f"
