from __future__ import annotations

import hashlib
import subprocess

import pytest

from pycam.errors import FormatError
from pycam.zoo.checksums import CHUNK, checksum, pin, pin_file, pinned


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
def test_checksums_are_those_of_the_whole_file(tmp_path, size):
    content = bytes(index % 251 for index in range(size))
    path = tmp_path / "weights"
    path.write_bytes(content)
    assert checksum(path, "sha256") == hashlib.sha256(content).hexdigest()
    assert checksum(path, "sha1") == hashlib.sha1(content).hexdigest()
    assert checksum(path, "git_blob") == hashlib.sha1(f"blob {size}\0".encode() + content).hexdigest()


def test_the_git_blob_is_what_git_calls_it(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"hello world\n")
    # As `git hash-object` prints it.
    assert checksum(path, "git_blob") == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"


def test_a_pin_is_read_back_and_changes_with_the_file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"first")
    assert pinned(path) is None
    pin(path)
    assert pinned(path) == hashlib.sha256(b"first").hexdigest()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["weights", "weights.sha256"]


@pytest.mark.sha256sum
def test_sha256sum_reads_a_pin(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"first")
    pin(path)
    subprocess.run(
        ["sha256sum", "--check", "--strict", pin_file(path).name],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("content", ["", "abc", "z" * 64, "A" * 64])
def test_a_damaged_pin_is_an_error(tmp_path, content):
    pin_file(tmp_path / "weights").write_text(content)
    with pytest.raises(FormatError, match=r"weights.sha256: expected a SHA-256 .* delete this file to pin again"):
        pinned(tmp_path / "weights")
