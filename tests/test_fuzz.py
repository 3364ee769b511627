"""Damaged files, given to every reader: a checked value or a one-line error. `make fuzz` tries far more of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from corpus import DAMAGES, READERS, Reader, attempt, damaged
from hypothesis import HealthCheck, given, settings, strategies as st

BY_NAME = pytest.mark.parametrize(
    "reader",
    [
        pytest.param(reader, id=reader.name, marks=[getattr(pytest.mark, reader.needs)] if reader.needs else [])
        for reader in READERS
    ],
)


@BY_NAME
def test_sound_files_are_read(reader: Reader, tmp_path: Path):
    for seed in reader.seeds:
        assert attempt(reader, tmp_path, seed) == ""


@BY_NAME
def test_damaged_files_are_read_or_explained(reader: Reader, tmp_path: Path):

    @settings(max_examples=4 if reader.slow else 60, suppress_health_check=[HealthCheck.too_slow])
    @given(seed=st.sampled_from(reader.seeds), rng=st.randoms(use_true_random=False))
    def check(seed: bytes, rng: random.Random) -> None:
        attempt(reader, tmp_path, damaged(seed, rng, reader))

    check()


@BY_NAME
def test_any_bytes_are_read_or_explained(reader: Reader, tmp_path: Path):

    @settings(max_examples=2 if reader.slow else 40)
    @given(content=st.binary(max_size=300) | st.text("0123456789 .,-e\n\t{}:&*", max_size=80).map(str.encode))
    def check(content: bytes) -> None:
        attempt(reader, tmp_path, content)

    check()


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_changes_files(damage):
    reader = READERS[0]
    rng = random.Random(0)
    assert len({damage(reader.seeds[0], rng, reader) for _ in range(50)}) > 10


def _say(path: Path) -> None:
    from pycam.errors import FormatError

    raise {
        b"unnamed": FormatError("damaged"),
        b"fault": KeyError("x"),
        b"lines": FormatError(f"{path}: two\nlines"),
    }[path.read_bytes()]


def test_faults_of_readers_are_found(tmp_path: Path):
    reader = Reader("mischief", "file", _say, (b"",))
    with pytest.raises(AssertionError, match="names no file: damaged"):
        attempt(reader, tmp_path, b"unnamed")
    with pytest.raises(KeyError, match="x"):
        attempt(reader, tmp_path, b"fault")
    assert attempt(reader, tmp_path, b"lines").endswith(r"two\nlines")
