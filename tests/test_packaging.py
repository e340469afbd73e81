"""The lists that must agree: folders, dependencies, development requirements, README, mypy."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def folders(name):
    return sorted(p for p in (ROOT / name).iterdir() if p.is_dir() and p.name[0] not in "._")


PLUGINS = folders("plugins")
EXAMPLES = folders("contrib")
MEMBERS = [ROOT / "core", *PLUGINS]


def manifest(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())


def project(folder):
    return manifest(folder)["project"]


def place(folder):
    return folder.relative_to(ROOT).as_posix()


def lines(name):
    text = (ROOT / name).read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def in_order(folders):
    return pytest.mark.parametrize("folder", folders, ids=place)


def test_root_depends_on_every_member_by_its_folder():
    wanted = [f"{project(m)['name']} @ {{root:uri}}/{place(m)}" for m in MEMBERS]
    assert project(ROOT)["dependencies"] == wanted


def test_development_requirements_install_every_member_editable():
    editable = [line for line in lines("requirements-dev.txt") if line.startswith("-e")]
    assert editable == [f"-e ./{place(m)}" for m in MEMBERS]


def test_development_tools_are_the_dev_extra():
    tools = [line for line in lines("requirements-dev.txt") if not line.startswith("-e")]
    assert tools == project(ROOT)["optional-dependencies"]["dev"]


def test_mypy_finds_every_member_and_the_examples():
    sources = [f"{place(m)}/src" for m in (*MEMBERS, *EXAMPLES)]
    assert manifest(ROOT)["tool"]["mypy"]["mypy_path"] == sources


def test_readme_lists_every_distribution_with_its_folder():
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `(fewbits[\w-]*)` \| `([^`]*)` \|", text, flags=re.MULTILINE)
    assert rows == [("fewbits", "."), *((project(m)["name"], f"{place(m)}/") for m in MEMBERS)]


def test_index_of_the_docs_names_every_page():
    named = set(re.findall(r"\]\(([\w/-]+\.md)\)", (ROOT / "docs/index.md").read_text()))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert named == pages - {"index.md"}


def test_changelog_begins_with_what_is_unreleased():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"


def test_every_member_has_the_version_of_the_root():
    assert {project(m)["version"] for m in MEMBERS} == {project(ROOT)["version"]}


def test_the_package_says_the_version_of_its_distribution():
    source = (ROOT / "core/src/fewbits/__init__.py").read_text()
    assert f'__version__ = "{project(ROOT)["version"]}"' in source


@in_order(MEMBERS)
def test_member_names_licence_readme_and_python(folder):
    about, root = project(folder), project(ROOT)
    assert about["license"] == root["license"] == "Apache-2.0"
    assert about["requires-python"] == root["requires-python"]
    assert (folder / about["readme"]).read_text().startswith(f"# {about['name']}\n")


@in_order(MEMBERS)
def test_member_depends_on_ranges_never_on_addresses_or_pins(folder):
    about = project(folder)
    extras = about.get("optional-dependencies", {}).values()
    for text in (*about.get("dependencies", ()), *(line for extra in extras for line in extra)):
        requirement = Requirement(text)
        assert requirement.url is None, text
        assert not any(s.operator in ("==", "===") for s in requirement.specifier), text


@in_order(PLUGINS)
def test_plugin_bounds_the_core_it_was_written_for(folder):
    needed = {r.name: r for r in map(Requirement, project(folder)["dependencies"])}
    core = needed["fewbits-core"].specifier
    current = Version(project(ROOT)["version"])
    assert current in core
    assert Version(f"{current.major}.{current.minor + 1}") not in core


@in_order(PLUGINS)
def test_plugin_depends_on_no_other_plugin(folder):
    needed = {Requirement(text).name for text in project(folder)["dependencies"]}
    assert not needed & {project(other)["name"] for other in PLUGINS}


@in_order(PLUGINS)
def test_plugin_is_whole(folder):
    about, package = project(folder), f"fewbits_{folder.name}"
    assert about["name"] == f"fewbits-{folder.name.replace('_', '-')}"
    assert about["entry-points"]["fewbits.plugins"] == {folder.name: f"{package}.plugin"}
    assert (folder / "src" / package / "plugin.py").is_file()
    assert (folder / "src" / package / "py.typed").is_file()
    assert list((folder / "tests").glob("test_*.py"))


def test_constraints_are_plain_pins_that_the_ranges_allow():
    pins = {}
    for line in lines("constraints.txt"):
        requirement = Requirement(line)
        (pin,) = requirement.specifier
        assert (requirement.url, pin.operator) == (None, "=="), line
        pins[requirement.name.lower().replace("_", "-")] = pin.version
    everything = [text for m in MEMBERS for text in project(m)["dependencies"]]
    everything += [t for extra in ("qft", "dev") for t in extras_of_root()[extra]]
    for requirement in map(Requirement, everything):
        if not requirement.name.startswith("fewbits"):
            assert pins[requirement.name.lower()] in requirement.specifier, requirement


def test_torch_comes_only_with_its_extra():
    assert extras_of_root()["all"] == ["fewbits[qft]"]
    assert [Requirement(t).name for t in extras_of_root()["qft"]] == ["torch"]
    plain = [Requirement(t).name for m in MEMBERS for t in project(m)["dependencies"]]
    assert "torch" not in plain


def extras_of_root():
    return project(ROOT)["optional-dependencies"]
