"""The shape of the code: names that must not be shadowed, layers, circles, sizes, words that stay out."""

import ast
import os
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "platform"
PACKAGE = SOURCE / "orthoray"

LAYERS = [
    {"errors", "config", "progress", "storage", "tracking", "cluster", "__init__"},
    {"imaging"},
    {"data"},
    {"models"},
    {"features"},
    {"pretrain", "transferability", "evaluation"},
    {"report"},
    {"demo"},
    {"cli"},
]
"""From the lowest to the highest; a module imports its own part and lower layers (the lowest: its whole layer)."""


SIDEWAYS = {("orthoray.pretrain.probes", "evaluation")}
"""A module and the part of its own layer that it may import all the same: online probes use the linear probe."""


def module_name(file):
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def part_of(module):
    return module.split(".")[1] if "." in module else "__init__"


def layer_of(module):
    found = [level for level, names in enumerate(LAYERS) if part_of(module) in names]
    assert found, f"{module}: give '{part_of(module)}' a layer in {Path(__file__).name}"
    return found[0]


def imported(nodes):
    """Modules of this package that the import statements among ``nodes`` name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inner]
        else:
            continue
        yield from (name for name in names if name == "orthoray" or name.startswith("orthoray."))


def run_at_import(tree):
    """The statements that run when a module is imported: none in functions, none for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from run_at_import(node)


@pytest.fixture(scope="module")
def trees():
    return {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in MODULES.items()}


def text_files():
    """Every text file that is, or would be, committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        files = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        tops = ("platform", "jobs", "datasets", "tests", "cluster", "docs", "benchmarks")
        files = [*ROOT.glob("*.*"), *(file for top in tops for file in (ROOT / top).rglob("*"))]
    endings = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".html", ".css", ".js", ".json", ".csv", ".sh", ""}
    return [file for file in files if file.suffix in endings and file.is_file()]


def test_no_folder_of_ours_shadows_a_library():
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert not (ROOT / "datasets" / "__init__.py").exists()
    assert list((ROOT / "datasets").rglob("*.py")) == []


@pytest.mark.parametrize("path", [None, "platform", ".", "platform:."])
def test_platform_is_the_standard_library_from_the_repository_root(path):
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if path is not None:
        env["PYTHONPATH"] = path.replace(":", os.pathsep)
    code = "import platform, uuid; print(platform.python_version(), platform.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    version, file = done.stdout.split(maxsplit=1)
    assert version == ".".join(map(str, sys.version_info[:3]))
    assert not Path(file.strip()).is_relative_to(ROOT / "platform")


def test_platform_is_the_standard_library_here():
    import platform

    assert platform.python_version() == ".".join(map(str, sys.version_info[:3]))


def test_lower_layers_never_import_higher_ones(trees):
    wrong = []
    for name, tree in trees.items():
        for target in imported(ast.walk(tree)):
            same_part = part_of(target) == part_of(name)
            allowed = layer_of(target) < layer_of(name) or same_part or layer_of(name) == layer_of(target) == 0
            if not allowed and (name, part_of(target)) not in SIDEWAYS:
                wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_the_layer_check_sees_imports_in_functions_and_of_submodules():
    tree = ast.parse("def f():\n    from orthoray.cluster import submit\n    import orthoray.cli")
    assert list(imported(ast.walk(tree))) == ["orthoray.cluster.submit", "orthoray.cli"]
    assert list(imported(run_at_import(tree))) == []


def test_no_module_imports_itself_in_a_circle(trees):
    graph = {name: set(imported(run_at_import(tree))) - {name} for name, tree in trees.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_files_stay_short():
    folders = ("platform", "jobs", "tests", "benchmarks")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    long = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: lines for name, lines in long.items() if lines > 500} == {}


def test_nothing_committed_names_a_registry_or_a_path_of_one_machine():
    hosts = [
        "pypi" + r"\.org",
        "pythonhosted" + r"\.org",
        "npmjs" + r"\.(org|com)",
        "anaconda" + r"\.org",
        "index-" + "url",
    ]
    paths = [r"(?<![\w.~-])/" + name for name in ("work/", "root/", "tmp/", r"home/\w+/")]
    pattern = re.compile("|".join(hosts + paths))
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for file in text_files()
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_make_install_tells_where_the_command_is():
    """What `make install` would run, in an environment that is not there yet."""
    told = subprocess.run(
        ["make", "--dry-run", "install", "VENV=somewhere"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "pip install" in told
    assert "[dev]" not in told
    assert f"{ROOT}/somewhere/bin/orthoray" in told
    assert "source somewhere/bin/activate" in told
