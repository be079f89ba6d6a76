"""The house rules hold in every file, and each of them is shown to bite."""

from __future__ import annotations

import re

import pytest

from tests.house.rules import MORE_BAD, RULES, Rule
from tests.house.tree import ROOT, Module, modules, texts

LOCKS = (
    *("requirements.lock", "requirements-extras.lock", "requirements-dev.lock"),
    "tests/house/semgrep/requirements.lock",
)
# Spelled with classes, so that this file does not hold what no file may hold.
MACHINE_PATH = re.compile(r"(?<![A-Za-z0-9_.$}])/(?:wor[k]|far[m]|roo[t]|hom[e]|User[s])/")
INDEX_HOST = re.compile(r"pypi[.]org|pythonhosted[.]org")
RESIDENT_ID = re.compile(
    r"(?<![0-9A-Za-z])[1-9][0-9]{5}(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:[0-2][0-9]|3[01])[0-9]{3}[0-9Xx](?![0-9A-Za-z])"
)
QUERY = re.compile(r"^-- name: *(?P<name>[A-Za-z0-9_]+)[\^$!#<>*]*.*\n(?P<next>.*)$", re.MULTILINE)
IDS = [rule.name for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_every_module_keeps_the_rule(rule: Rule) -> None:
    """No module breaks this house rule."""
    offences = [words for module in modules() if rule.applies(module.path) for words in rule.check(module)]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_the_rule_bites_and_does_not_bark(rule: Rule) -> None:
    """The rule finds the sample that breaks it, and leaves the one that keeps it alone."""
    assert list(rule.check(Module.of("gateway/sample.py", rule.bad)))
    assert not list(rule.check(Module.of("gateway/sample.py", rule.good)))


@pytest.mark.parametrize(("name", "bad"), MORE_BAD)
def test_the_rule_bites_in_every_spelling(name: str, bad: str) -> None:
    """Other ways to break a rule are found as well."""
    (rule,) = (rule for rule in RULES if rule.name == name)
    assert list(rule.check(Module.of("gateway/sample.py", bad)))


def test_the_rules_saw_the_tree() -> None:
    """The rules run over the real tree: an empty walk would keep every rule."""
    paths = {module.path for module in modules()}
    assert {"gateway/metrics.py", "adapters/contract.py", "schemas/money.py", "tests/house/test_tidy.py"} <= paths
    assert {"README.md", "requirements.lock", "deploy/README.md"} <= {path for path, _ in texts()}


def machine_paths(text: str) -> list[str]:
    return [match[0] for match in MACHINE_PATH.finditer(text)]


def test_no_file_holds_a_path_of_one_machine() -> None:
    """A clone must work anywhere: no absolute path of somebody's machine stands in the tree."""
    assert {path: found for path, text in texts() if (found := machine_paths(text))} == {}


@pytest.mark.parametrize("folder", ["work", "home", "root", "Users"])
def test_machine_paths_would_be_found(folder: str) -> None:
    """The search for machine paths finds them, and leaves relative paths, addresses and words alone."""
    for sample in (f"/{folder}/x", f"x = '/{folder}/me'", f"(/{folder}/.ssh)"):
        assert machine_paths(sample)
    for sample in (f"a/{folder}/x", f"./{folder}/x", f"https://host.example/{folder}/", f"${{X}}/{folder}/", folder):
        assert not machine_paths(sample)


def test_locks_are_hashed_and_name_no_index() -> None:
    """Every pinned package carries a hash, and neither lock holds a URL or an index option."""
    for name in LOCKS:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "://" not in text
        assert not re.search(r"^\s*(?:-i|--index|--extra-index|--find-links|--trusted)", text, re.MULTILINE)
        pins = re.findall(r"^[a-z0-9][^\s=]*==[^\\]*\\\n\s+--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
        assert len(pins) == len(re.findall(r"^[a-z0-9].*==", text, re.MULTILINE)) > 20


def test_no_file_names_an_index() -> None:
    """Where packages come from is the installer's configuration, never ours."""
    assert [path for path, text in texts() if INDEX_HOST.search(text)] == []


def test_test_people_are_nobody() -> None:
    """Every resident ID in the tree has the unassigned prefix 659999: no real person can be in a test."""
    strangers = {
        path: sum(not match[0].startswith("659999") for match in RESIDENT_ID.finditer(text))
        for path, text in texts()
        if not path.endswith(".lock")
    }
    assert {path: count for path, count in strangers.items() if count} == {}
    assert RESIDENT_ID.search("1101" + "01199003077758")


def queries() -> dict[str, str]:
    """Every named query with the line that follows its name."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "gateway" / "store" / "sql").rglob("quer*/*.sql")):
        for match in QUERY.finditer(path.read_text(encoding="utf-8")):
            assert match["name"] not in found, f"{match['name']} is defined twice"
            found[match["name"]] = match["next"]
    return found


def test_every_query_says_its_purpose() -> None:
    """Each named query is followed by one line that says what it is for."""
    assert queries(), "no queries were found"
    assert [name for name, following in queries().items() if not re.match(r"-- \S.*[.?]$", following)] == []


def test_every_query_is_used() -> None:
    """A query that no module names is dead SQL."""
    code = "\n".join(module.text for module in modules() if module.path.startswith("gateway/"))
    assert [name for name in queries() if not re.search(rf"""["'.]{name}\b""", code)] == []


def test_queries_are_read_as_written() -> None:
    """The search understands names with aiosql's marks, and the purpose under them."""
    (match,) = QUERY.finditer("-- name: take_work^\n-- Take the oldest due work.\nSELECT 1;\n")
    assert (match["name"], match["next"]) == ("take_work", "-- Take the oldest due work.")
