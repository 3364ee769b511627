"""README.ko.md and README.zh.md, kept in step with README.md."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import readme

ROOT = Path(__file__).parents[1]
ORIGINAL = (ROOT / "README.md").read_text("utf-8")
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
LANGUAGES = {"ko": "[가-힣]", "zh": "[一-鿿]"}


def sections(text: str) -> list[str]:
    """Return the prose of each section."""
    return re.split(r"^## ", FENCE.sub("", text), flags=re.M)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_same_code_in_the_same_order(language):
    text = (ROOT / f"README.{language}.md").read_text("utf-8")
    assert [(block.language, block.content) for block in readme.blocks(text)] == [
        (block.language, block.content) for block in readme.blocks(ORIGINAL)
    ]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "part",
    [
        pytest.param(r"`[^`]+`", id="code in running text"),
        pytest.param(r"\]\((?!README)([^)#]+)", id="links"),
        pytest.param(r"\d+(?:[.,]\d+)*", id="numbers"),
        pytest.param(r"^- ", id="items"),
        pytest.param(r"^\*(?!\*)|(?<!\*)\*$", id="lines in italics"),
    ],
)
def test_each_section_of_a_translation_has_the_same_parts(language, part):
    text = (ROOT / f"README.{language}.md").read_text("utf-8")
    for ours, theirs in zip(sections(text), sections(ORIGINAL), strict=True):
        found, expected = (Counter(re.findall(part, prose, re.M)) for prose in (ours, theirs))
        assert found == expected, ours.splitlines()[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_is_in_its_language_and_the_readmes_lead_to_each_other(language):
    text = (ROOT / f"README.{language}.md").read_text("utf-8")
    for section in sections(text)[1:]:
        title, *prose = section.splitlines()
        assert title == "Docker" or re.search(LANGUAGES[language], title)
        assert len(re.findall(LANGUAGES[language], "".join(prose))) > 15, title
    others = {"README.md", *(f"README.{other}.md" for other in LANGUAGES)} - {f"README.{language}.md"}
    assert all(f"]({other})" in text for other in others)
    assert f"](README.{language}.md)" in ORIGINAL.splitlines()[2]
