"""`make check` looks for known vulnerabilities, and says when it cannot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / ".ci/audit"
KNOWN = """
if [ "$1" = --requirement ]; then
    echo '{"dependencies": [{"vulns": [{"fix_versions": []}]}]}' >"${@: -1}"
    exit 1
fi
"""


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("echo broken >&2; exit 1", 0, "pip-audit was left out: no advisories can be had here\n"),
        ("""echo '{"dependencies": []}' >"${@: -1}" """, 0, "pip-audit was left out: no advisories can be had here\n"),
        (f"{KNOWN} echo none; exit 0", 0, "none\n"),
        (f"{KNOWN} echo one; exit 1", 1, "one\n"),
    ],
)
def test_a_vulnerability_fails_and_no_advisories_are_told(program, code, said, tmp_path):
    stand_in = tmp_path / "pip-audit"
    stand_in.write_text(f"#!/usr/bin/env bash\n{program}\n")
    stand_in.chmod(0o755)
    done = subprocess.run([AUDIT, stand_in], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, said)
