"""The README: what can be pasted is run, in order, in an empty folder with an empty home; the rest is checked."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest
import readme

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
BLOCKS = readme.blocks(readme.README.read_text("utf-8"))


def test_every_block_is_found_and_those_that_need_more_say_so():
    text = readme.README.read_text("utf-8")
    assert text.count("```") == 2 * len(BLOCKS)
    assert {block.language for block in BLOCKS} == {"sh", "python"}
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"^(?: {4}|\t)\S", outside, re.MULTILINE), "a block without a fence"
    assert len([block for block in BLOCKS if block.needs]) == len(re.findall(r"^\*Needs ", text, re.MULTILINE))
    for block in BLOCKS:
        wants = re.search(
            r"docker|make |models download|--weights init|ILSVRC|onnxruntime caffe|pycam page", block.content
        )
        assert bool(wants) == bool(block.needs), block.content


def test_environment_comes_first_and_has_the_extras_that_the_text_uses():
    install, *others = BLOCKS
    assert re.match(r"python3 -m venv (\S+)\n\. \1/bin/activate\npip install ", install.content)
    assert not any(block.installs for block in others)
    extras = set(readme.PACKAGE.search(install.content)[1].strip("[]").split(","))
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    uses = {"demo": "pycam demo", "paper": "pycam net fit", "web": "pycam serve"}
    run = "".join(block.content for block in others if not block.needs)
    assert extras == {extra for extra, command in uses.items() if command in run} <= known.keys()


@pytest.mark.slow
@pytest.mark.demo
@pytest.mark.paper
@pytest.mark.web
@pytest.mark.posix
def test_blocks_run_in_order(tmp_path):
    # `.ci/wheel` runs them all, in the environment that the first one makes; here it is the one of the tests.
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, call in (("pycam", "-m pycam"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {call} "$@"\n')
        (programs / name).chmod(0o755)
    commands = readme.script([block for block in BLOCKS if not block.installs], "")
    done = readme.run(commands, tmp_path, f"{programs}:{os.defpath}", PYTHONPATH=str(ROOT))
    assert not readme.fault(done, tmp_path / "work"), done.stdout[-3000:]


def test_a_block_that_fails_stops_the_others(tmp_path):
    found = readme.blocks(
        "```sh\ntrue\n```\n\n*Needs a tool:*\n\n```sh\nfalse\n```\n\n```sh\nfalse\n```\n\n```sh\nexit 7\n```\n"
    )
    assert [block.needs for block in found] == ["", "a tool", "", ""]
    done = readme.run(readme.script(found, ""), tmp_path, os.defpath)
    assert done.returncode == 1
    assert readme.fault(done, tmp_path / "work") == "a block ends with 1"
    assert len((tmp_path / "times").read_text().splitlines()) == 2  # of the first block only
