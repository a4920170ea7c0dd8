"""The house: its floors, its README and docs, its tools."""

import argparse
import ast
import importlib.metadata
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from aevis_dash.cli import make_parser
from aevis_dash.glossary import as_markdown

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(p for folder in ("aevis_dash", "tests", "assets") for p in (ROOT / folder).rglob("*.*"))
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED = [*SOURCES, *ROOT.glob("*.*"), ROOT / "Makefile", *DOCS]
TEXTS = [p for p in NAMED if p.suffix in ("", ".py", ".md", ".toml", ".js")]


def test_the_floors_hold():
    """In a process of its own: import-linter changes the logging and the import path of the one it runs in."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout)


def test_nothing_is_left_to_do():
    unfinished = re.compile("TO" + "DO|FIX" + "ME|X" + "XX")
    assert [p.name for p in TEXTS if p.is_file() and unfinished.search(p.read_text(encoding="utf-8"))] == []


def test_no_module_has_a_name_that_says_nothing():
    assert not {p.stem for p in SOURCES} & {
        "utils",
        "util",
        "helpers",
        "helper",
        "manager",
        "handler",
        "misc",
        "common",
    }


def test_public_functions_of_the_package_say_what_they_do():
    silent = []
    for path in (ROOT / "aevis_dash").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if named and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert silent == []


def test_the_shapes_of_arrays_are_told():
    """A public function of core and workbench that takes or gives arrays names a shape, such as (n,) or (B, K)."""
    array, shape = re.compile(r"\b(Tensor|ndarray)\b"), re.compile(r"\(\.\.\.\)|\((\.\.\.|[\w ]+),[^()]*\)")
    silent, seen = [], 0
    for path in [*(ROOT / "aevis_dash" / "core").glob("*.py"), *(ROOT / "aevis_dash" / "workbench").glob("*.py")]:
        for function, doc in _public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            arguments = [a.annotation for a in [*function.args.args, *function.args.kwonlyargs] if a.annotation]
            types = [ast.unparse(each) for each in [*arguments, function.returns] if each is not None]
            if any(array.search(each) and "Callable" not in each for each in types):
                seen += 1
                if not shape.search(doc):
                    silent.append(f"{path.relative_to(ROOT)}: {function.name}")
    assert silent == []
    assert seen > 100


def _public_functions(module: ast.Module) -> Iterator[tuple[ast.FunctionDef, str]]:
    """The public functions and methods of a module with their docstrings; a constructor has its class's."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node, ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and (part.name == "__init__" or not part.name.startswith("_")):
                    yield part, ast.get_docstring(node if part.name == "__init__" else part) or ""


def test_no_two_classes_have_one_name():
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "aevis_dash").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_tests_ask_public_names():
    """No test imports, reads or replaces what is private to a module or class of the package."""
    private = {name for path in (ROOT / "aevis_dash").rglob("*.py") for name in _private_names(path)}
    asked = [
        f"{path.relative_to(ROOT)}, line {line}: {name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for line, name in _asked_names(ast.parse(path.read_text(encoding="utf-8")))
        if name in private
    ]
    assert asked == []


def _private_names(path: Path) -> set[str]:
    """The names with one underscore that a module defines: functions, classes, variables, and attributes of self."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in found if re.match("_[^_]", name)}


def _asked_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What a test imports, what it reads of anything but its own self, and the last part of names in quotes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value.rpartition(".")[2]


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def commands() -> list[list[str]]:
    """The lines of the docs' code blocks as words, without prompts and comments."""
    blocks = [block for path in DOCS for block in _BLOCK.findall(path.read_text(encoding="utf-8"))]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := _words(line))]


_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def quoted(path: Path) -> list[str]:
    """What stands in backticks in a text, outside its code blocks."""
    return re.findall(r"`([^`\n]+)`", _unwrapped(_BLOCK.sub("", path.read_text(encoding="utf-8"))))


def _unwrapped(text: str) -> str:
    """A text whose wrapped lines are joined, so that what is quoted across two lines is found."""
    return re.sub(r"(?<=\S)\n *(?=[^\s|])", " ", text)


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line.removeprefix("$ "), comments=True)
    except ValueError:
        return []
    return words[1:] if words[:1] == ["time"] else words


def test_the_docs_commands_exist():
    said = commands()
    assert ["make", "run"] in said
    assert ["make", "test"] in said
    made = {word for words in said if words[0] == "make" for word in words[1:] if "=" not in word}
    assert made <= makefile_targets()
    variables = {w.split("=")[0] for words in said if words[0] == "make" for w in words[1:] if "=" in w}
    assert variables <= {"PORT", "WORKSPACE", "PYTHON", "TORCH_INDEX"}
    ours = [words[1:] for words in said if words[0] == "aevis"]
    assert len(ours) > 10
    for argv in ours:
        _parse(argv)


def _parse(argv: list[str]) -> None:
    try:
        make_parser().parse_args(argv)
    except SystemExit as end:
        if end.code:
            pytest.fail(f"the docs say `aevis {' '.join(argv)}`, which is no command")


def options_by_verb() -> dict[str, set[str]]:
    """Every verb of the command line, and its options."""
    [verbs] = [a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return {name: set(verb._option_string_actions) for name, verb in verbs.choices.items()}


def test_every_verb_and_option_that_the_docs_name_exists():
    """`aevis VERB --flag ...` as well as a `--flag` that stands alone, which must be some verb's."""
    known = options_by_verb()
    every = set().union(*known.values())
    unknown, seen = [], set()
    for path in DOCS:
        for text in quoted(path):
            words = text.split()
            flags = {word.split("=")[0] for word in words if word.startswith("--")}
            if words[0] == "aevis" and words[1:2] not in ([], ["VERB"]):
                seen.add(words[1])
                wrong = flags - known[words[1]] if words[1] in known else words[1]
            else:
                wrong = flags - every if words[0].startswith("--") else set()
            if wrong:
                unknown.append(f"{path.name}: `{text}`")
    assert unknown == []
    assert seen == set(known), "every verb is told of"


def test_every_file_and_module_that_the_docs_name_exists():
    """In backticks, as a path from the root or from the package, and where a link leads to."""
    tops = {p.name for p in ROOT.iterdir() if p.is_dir()} | {p.name for p in (ROOT / "aevis_dash").iterdir()}
    missing, found = [], 0
    for path in DOCS:
        for name in filter(_is_ours(tops - {"cache"}), quoted(path)):
            places = [ROOT / name, ROOT / "aevis_dash" / name, ROOT / f"{name.replace('.', '/')}.py"]
            found += 1
            if not any(place.exists() for place in places):
                missing.append(f"{path.name}: `{name}`")
        for link in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            if "://" not in link and not (path.parent / link).exists():
                missing.append(f"{path.name}: ({link})")
    assert missing == []
    assert found > 50


def _is_ours(tops: set[str]) -> Callable[[str], bool]:
    """Whether a quoted text names one of our files or modules: a script, or a path below a folder that we have."""
    path = re.compile(r"[\w.-]+(/[\w.-]+)*/?")
    return lambda text: (
        bool(path.fullmatch(text))
        and (
            text.endswith((".py", ".js", ".css", ".md", ".png"))
            or text.startswith("aevis_dash.")
            or ("/" in text and text.split("/")[0] in tops)
        )
    )


def test_links_into_the_docs_end_at_a_heading():
    dead = []
    for path in DOCS:
        for place, heading in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", path.read_text(encoding="utf-8")):
            if heading not in _anchors(path.parent / place if place else path):
                dead.append(f"{path.name}: {place}#{heading}")
    assert dead == []


def _anchors(path: Path) -> set[str]:
    """The names that GitHub gives a text's headings."""
    heads = re.findall(r"^#+ (.+)$", _BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


def test_the_docs_are_wrapped():
    """At 120 characters, but for tables and pictures, which Markdown cannot wrap."""
    long = [
        f"{path.name}, line {i}"
        for path in DOCS
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 120 and not line.startswith(("|", "!["))
    ]
    assert long == []


def test_the_docs_explain_words_as_the_page_does():
    """The list in docs/using.md is made by `aevis_dash.glossary.as_markdown`, whose text the page shows too."""
    text = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"^## The words\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert words[words.index("- **") :].strip() == as_markdown()


def test_the_readme_is_short_and_leads_to_all_docs():
    text = DOCS[0].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert {f"docs/{path.name}" for path in DOCS[1:]} <= set(re.findall(r"\]\(([^)#\s]+)", text))


def test_make_lists_its_targets():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("run", "test", "lint", "format", "clean", "help"):
        assert re.search(rf"^ +make {target} +\S", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("exit 1", "Python 3.11 or newer is needed and .*make run PYTHON="),
        ('[ "${2#import ensurepip}" = "$2" ]', "has no venv module. Install it .*python3-venv"),
    ],
)
def test_make_run_says_in_one_line_what_is_missing(tmp_path, python, words):
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    stand_in = tmp_path / "bin" / "python3"
    stand_in.write_text(f"#!/bin/sh\n{python}\n")
    stand_in.chmod(0o755)
    make = subprocess.run(["/bin/sh", "-c", "command -v make"], capture_output=True, text=True, check=True)
    done = subprocess.run(
        [make.stdout.strip(), "run"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.search(words, done.stderr)
    assert (done.stdout + done.stderr).count("\n") == 1
    assert not (tmp_path / ".venv").exists()


def scripts() -> list[Path]:
    """The scripts of the page that are ours."""
    return [path for path in sorted((ROOT / "assets").glob("*.js")) if ".min." not in path.name]


def test_the_types_of_every_script_are_checked():
    assert len(scripts()) > 10
    heads = {path.name: path.read_text(encoding="utf-8").split("\n", 1)[0] for path in scripts()}
    assert {name for name, head in heads.items() if head != "// @ts-check"} == set()


def test_the_lock_of_the_scripts_tools_names_no_registry():
    """They are installed from the registry that npm is told of, and known again by their digests."""
    locked = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert len(locked) > 50
    assert [name for name, package in locked.items() if "resolved" in package] == []
    assert [name for name, package in locked.items() if name and "integrity" not in package] == []
    declared = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in declared} == declared


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ({}, "npm with Node.js 18.18 or newer is needed"),
        ({"npm": "exit 0", "node": "exit 1"}, "npm with Node.js 18.18 or newer is needed"),
        ({"npm": "exit 1", "node": "exit 0"}, "npm could not install what checks them (npm ci tells why)"),
    ],
)
def test_scripts_that_cannot_be_checked_are_told_in_one_line(tmp_path, tools, words):
    for name in ("Makefile", "package-lock.json"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "bin").mkdir()
    for name in ("sh", "make", "cmp"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    for name, line in tools.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    done = subprocess.run(
        ["make", "scripts"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"The scripts in assets/ were not checked: {words}.\n"
    assert done.stderr == ""


def test_ci_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "exec make test\n" in script.read_text(encoding="utf-8")
    assert "make test" in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


def test_the_oldest_and_newest_versions_that_are_declared_are_those_that_work():
    """torch.OutOfMemoryError came with torch 2.5 (torchvision 0.20); what we override of Dash's jobs may end with 5."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [Requirement(text) for text in told["dependencies"] + told["optional-dependencies"]["test"]]
    allowed = {(one.name, *sorted(one.extras)): one.specifier for one in listed}
    for dash in (("dash",), ("dash", "testing")):
        assert not allowed[dash].contains("5.0.0")
    assert not allowed[("torch",)].contains("2.4.1")
    assert not allowed[("torchvision",)].contains("0.19.1")
    for (name, *_), versions in allowed.items():
        assert versions.contains(importlib.metadata.version(name)), name


def test_no_module_has_more_than_400_lines_but_that_of_the_domain():
    sizes = {
        path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "aevis_dash").rglob("*.py")
    }
    assert {name for name, size in sizes.items() if size > 400} == {"domain.py"}


def test_the_pictures_of_the_docs_are_as_the_page_is_now():
    drawn = runpy.run_path(str(ROOT / "docs" / "pictures.py"), run_name="pictures")
    known = drawn["DRAWN_FROM"].read_text(encoding="utf-8").strip()
    assert known == drawn["look_of_the_page"](), "the page looks otherwise now: say `make pictures`"
