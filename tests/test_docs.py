"""What the documents name is there: files that they link to, modules and paths of the package."""

import re

import pytest
import yaml
from small_run import ROOT

import cmc

DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))),
]
EXAMPLES = {"cmc/features/extractors/loudness.py", "cmc/models/baselines/mine.py"}  # of how to add one
GONE = {"cmc.train", "cmc.model"}  # named in the changelog


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_and_modules_of_the_package_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for path in re.findall(r"\bcmc/[\w/]+\.(?:py|yaml|csv)\b", text):
        assert path in EXAMPLES or (ROOT / path).is_file(), path
    for module in re.findall(r"`(cmc(?:\.\w+)+)`", text):
        stem = ROOT.joinpath(*module.split("."))
        known = [stem, stem.with_suffix(".py"), stem.parent.with_suffix(".py")]  # or what a module holds
        offered = module.removeprefix("cmc.") in cmc.__all__
        assert offered or module in GONE or any(path.exists() for path in known), module


@pytest.mark.parametrize(
    ("cell", "path"),
    re.findall(
        r"\[((?:`[\w., ]+`(?:, )?)+)\]\(\.\./(cmc/[\w/]+\.py)\)",
        (ROOT / "docs/method.md").read_text(encoding="utf-8"),
    ),
)
def test_functions_of_the_method_are_where_its_page_says(cell, path):
    source = (ROOT / path).read_text(encoding="utf-8")
    for name in re.findall(r"[\w.]+", cell):
        for part in name.split("."):
            assert re.search(rf"^\s*(def|class) {part}\b", source, re.M), (name, path)


def test_the_citation_names_software_and_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2510.20256"
