"""Guides: the sections of the documentation that messages end with."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

import overlap_learning as ol
from overlap_learning.guides import GUIDES, PLACE

ROOT = Path(__file__).parents[1]


def anchors(page: str) -> set[str]:
    """Anchors of a page's headings that are the same on GitHub and in HTML, whose ids docutils makes."""
    text = re.sub(r"^```.*?^```", "", (ROOT / "docs" / f"{page}.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = [heading.lower().strip() for heading in re.findall(r"^#{1,3} (.*)", text, flags=re.MULTILINE)]
    github = {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}
    return github & {re.sub(r"[^a-z0-9]+", "-", heading).strip("-") for heading in headings}


def used() -> list[str]:
    """The topics that modules call `guide` with."""
    calls = (
        node
        for file in (ROOT / "overlap_learning").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "guide"
    )
    return [ast.literal_eval(call.args[0]) for call in calls]


def test_each_guide_is_a_section_of_the_documentation_and_is_pointed_to():
    missing = {topic: "#".join(place) for topic, place in GUIDES.items() if place[1] not in anchors(place[0])}
    assert missing == {}
    assert set(used()) == set(GUIDES)


def test_a_published_documentation_is_where_messages_point_to():
    address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"].get("Documentation", "docs/")
    assert PLACE.startswith(address)


def test_a_message_ends_in_its_guide_once():
    start = ol.Overlaps.from_entries(ol.Layout())
    with pytest.raises(ValueError, match="closest network") as refused:
        ol.equivalent(start, ol.Model(start.layout, ol.Linear()), mu=1.5)
    last = "See docs: docs/how-to/equivalence.md#a-pair-with-the-same-behaviour"
    assert str(refused.value).splitlines()[1:] == [last]
