"""Arrows point downwards only, and a start imports no more than it needs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vit_jax
from vit_jax import pretrained

PACKAGE = Path(__file__).parent.parent / "vit_jax"
# A room (a module of vit_jax, or a package in it) may import itself and the rooms before it. So the front door,
# `__init__`, may point anywhere, and nothing in the package comes in by it.
ORDER = (
    *("errors", "shapes", "parallel", "models", "data", "weights", "objectives", "evaluate"),
    *("train", "pretrained", "tools", "__main__", "__init__"),
)


def imported_names(source: str, package: str) -> set[str]:
    """The dotted names that a module of `package` imports, inside functions and by `import_module("…")` too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            origin = above[: len(above) - node.level + 1] if node.level else []
            origin = ".".join([*origin, *([node.module] if node.module else [])])
            names |= {f"{origin}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and re.fullmatch(r"vit_jax(\.\w+)+", str(node.value)):
            names.add(str(node.value))
    return names


def violations(package: Path) -> list[str]:
    """The imports under `package` that point upwards, and the rooms that ORDER does not place."""
    found = []
    rooms = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/*.py")}
    found += [f"{room} has no place in ORDER" for room in sorted(rooms - set(ORDER))]
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).with_suffix("").parts
        above = ".".join(["vit_jax", *inside[:-1]])
        for name in sorted(imported_names(path.read_text(), above)):
            root, _, rest = name.partition(".")
            if root != "vit_jax":
                continue
            room = rest.split(".")[0] if rest.split(".")[0] in rooms else "__init__"
            if inside[0] in ORDER and room in ORDER and ORDER.index(room) > ORDER.index(inside[0]):
                found.append(f"{'/'.join(inside)} imports {name}")
    return found


def test_arrows_point_downwards():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/vit.py", "import vit_jax.train.loop"),
        ("models/vit.py", "from vit_jax import train"),
        ("models/vit.py", "from vit_jax.train.loop import train"),
        ("models/vit.py", "from ..train import loop"),
        ("models/__init__.py", "from ..train import loop"),
        ("models/vit.py", "def late():\n    from vit_jax.train import loop"),
        ("models/vit.py", "import importlib\nimportlib.import_module('vit_jax.train.loop')"),
        ("parallel.py", "from .models import vit"),
        ("models/vit.py", "import vit_jax"),
        ("train/loop.py", "from vit_jax import __version__"),
        ("train/loop.py", "from vit_jax import load"),
        ("utilities.py", ""),
    ],
)
def test_a_violation_is_found(tmp_path, path, source):
    fine = {
        "__init__.py": "def __getattr__(name):\n    from vit_jax.train import loop\n    return getattr(loop, name)",
        "errors.py": "",
        "parallel.py": "import jax\nfrom .errors import UserError",
        "models/__init__.py": "",
        "models/vit.py": "from . import attention\nfrom .attention import Attention\nfrom .. import parallel",
        "models/attention.py": "from vit_jax.parallel import make_mesh",
        "train/__init__.py": "",
        "train/loop.py": "from vit_jax.models import vit",
    }
    for name, text in fine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert violations(tmp_path) == []
    (tmp_path / path).write_text(source)
    assert len(violations(tmp_path)) == 1


def modules_after(statement: str) -> set[str]:
    """The top-level modules loaded once `statement` has run in a new interpreter."""
    code = f"{statement}\nimport sys; print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("statement", ["import vit_jax", "import vit_jax.__main__ as m; m.main(['--help'])"])
def test_a_start_imports_the_standard_library_only(statement):
    ours = modules_after(statement) - modules_after("pass")
    assert ours - sys.stdlib_module_names == {"vit_jax"}


def test_the_front_door_has_the_one_line_and_nothing_else():
    assert {"list_models", "load"} <= set(dir(vit_jax))
    assert (vit_jax.load, vit_jax.list_models) == (pretrained.load, pretrained.list_models)
    with pytest.raises(AttributeError, match="module 'vit_jax' has no attribute 'laod'"):
        _ = vit_jax.laod


def test_models_import_no_data_plotting_or_serving_library():
    models = [f"vit_jax.models.{path.stem}" for path in (PACKAGE / "models").glob("*.py") if path.stem != "__init__"]
    loaded = modules_after(f"import {', '.join(['vit_jax.models', *models])}")
    assert "flax" in loaded
    banned = {"array_record", "grain", "matplotlib", "PIL", "sklearn", "tensorboardX", "tensorflow"}
    assert loaded & (banned | {"tensorflow_datasets"}) == set()
