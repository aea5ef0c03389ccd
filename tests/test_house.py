"""The documents, the commands and the house rules hold."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import vit_jax
from vit_jax import __main__ as verbs
from vit_jax.errors import UserError
from vit_jax.models.vit import Block
from vit_jax.weights import names

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SUFFIXES = ".cff .cfg .css .html .json .md .py .sh .toml .txt .yaml .yml".split()
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="run.sh is a bash script")


def our_files() -> list[Path]:
    """The text files of the repository, those of git where it is one."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    found = [ROOT / name for name in listed.stdout.splitlines()] if listed.returncode == 0 else ROOT.rglob("*")
    mine = [path for path in found if path.is_file() and not {".git", ".venv"} & set(path.relative_to(ROOT).parts)]
    return [path for path in mine if path.suffix in SUFFIXES or path.suffix == ""]


# --- documents


def missing_paths(document: Path) -> list[str]:
    """The paths of the repository that a document names, in backticks, links or commands, and that do not exist."""
    text = document.read_text()
    made = {"runs", "build", "dist"}  # by running the project, not part of it
    rooms = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir() and path.name not in made)
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)
    configs = re.findall(r"--config[= ](\S+?\.py)", text)
    quoted = [word for word in re.findall(r"`([\w./*-]+)`", text) if word == "run.sh" or re.match(rf"({rooms})/", word)]
    quoted += [
        word for word in re.findall(r"`([\w./-]+)`", text) if Path(word).suffix in {".md", ".py", ".sh", ".toml"}
    ]
    names = {path.name for path in our_files()}  # a page may say `vit.py` where the folder is plain
    places = (ROOT, ROOT / "vit_jax", document.parent)
    wanted = [word for word in links + configs + quoted if word not in names]
    return [word for word in wanted if not any(list(place.glob(word)) for place in places)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_in_documents_exist(document):
    assert missing_paths(document) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_are_verbs(document):
    text = document.read_text()
    asked = re.findall(r"(?<!\w)(?:\./run\.sh|python -m vit_jax) +([a-z]+)\b", text)
    assert set(asked) <= {*verbs.VERBS, "test", "parity", "lint"}


DOCUMENTED = [
    (file.name, command)
    for file in [*DOCUMENTS, *sorted((ROOT / "configs").glob("*.py"))]
    for command in re.findall(r"^ *\./run\.sh (train .*?)(?: {2,}.*)?$", file.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize(("file", "command"), DOCUMENTED, ids=lambda word: word)
def test_documented_trainings_are_read_without_complaint(file, command, monkeypatch, capsys, tmp_path):
    golden = dict(np.load(ROOT / "tests" / "golden" / "vit_mean.npz"))
    weights = {name.removeprefix("weights/"): array for name, array in golden.items() if name.startswith("weights/")}
    np.savez(tmp_path / "instead.npz", **weights)

    def local(name):  # nothing is fetched, but a name is to be one that is published
        assert name in names.published()
        return str(tmp_path / "instead.npz")

    monkeypatch.setattr(names, "local", local)
    monkeypatch.chdir(ROOT)
    assert verbs.main([*shlex.split(command), "--print-config"]) == 0, (file, capsys.readouterr().err)


def test_trainings_are_documented():
    assert {file for file, _ in DOCUMENTED} >= {"README.md", *(path.name for path in (ROOT / "configs").glob("*.py"))}


def test_a_wrong_path_in_a_document_is_found(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("`run.sh`, `vit_jax/*.py`, `errors.py`, [a](page.md#top), [b](https://x.y/z), `B/16`, `runs/1`")
    assert missing_paths(document) == []
    document.write_text("`tests/absent`, `absent.py`, [a](absent), `./run.sh train --config=configs/absent.py`")
    assert missing_paths(document) == ["absent", "configs/absent.py", "tests/absent", "absent.py"]


def test_the_changelog_knows_this_version():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings and headings[0] in {"Unreleased", vit_jax.__version__}


def test_the_citation_knows_this_version():
    assert f"\nversion: {vit_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()


# --- files


def test_no_file_names_a_path_of_somebodys_machine():
    somewhere = re.compile(r"(?<![\w.}-])/(?:work|root)/|/home/(?!you|user)\w+/|/Users/\w+/")
    found = {str(path): somewhere.findall(path.read_text(errors="replace")) for path in our_files()}
    assert len(found) > 20
    assert {path: words for path, words in found.items() if words and Path(path) != Path(__file__)} == {}


def test_files_of_the_package_are_short_and_named_for_what_they_give():
    files = list((ROOT / "vit_jax").rglob("*.py"))
    assert [path for path in files if len(path.read_text().splitlines()) > 300] == []
    vague = {"base", "common", "helper", "helpers", "misc", "util", "utils"}
    assert [path for path in our_files() if {path.stem, *path.relative_to(ROOT).parts} & vague] == []


def test_scripts_are_executable():
    assert all(os.access(ROOT / script, os.X_OK) for script in ("run.sh", ".ci/run"))


def test_array_annotations_are_checked():
    with pytest.raises(TypeCheckError):
        Block(heads=2, mlp_hidden=8).init({}, jnp.zeros((3, 4)), None, False)


# --- verbs


def test_an_unknown_verb_names_the_nearest(capsys):
    assert verbs.main(["trian"]) == 2
    assert capsys.readouterr().err == 'error: unknown verb "trian". Did you mean "train"?\n'


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_verb(capsys, arguments):
    assert verbs.main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(f"  {verb} " in printed and does in printed for verb, (_, does) in verbs.VERBS.items())


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_every_verb_has_its_module(verb):
    module, _ = verbs.VERBS[verb]
    assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists()


@pytest.mark.parametrize(
    ("outcome", "code", "printed"),
    [(0, 0, ""), (7, 7, ""), (UserError("no such image"), 2, "error: no such image\n"), (KeyboardInterrupt(), 130, "")],
)
def test_the_exit_code_tells_what_happened(monkeypatch, capsys, outcome, code, printed):
    def run(arguments: list[str]) -> int:
        assert arguments == ["--size", "B/16"]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setitem(sys.modules, "vit_jax.tools.told", types.SimpleNamespace(main=run))
    monkeypatch.setitem(verbs.VERBS, "told", ("vit_jax.tools.told", "as told"))
    assert verbs.main(["told", "--size", "B/16"]) == code
    assert capsys.readouterr().err == printed


def test_a_reader_that_leaves_early_sees_no_traceback():
    code = "import sys, vit_jax.__main__ as m; m.usage = lambda: 'x' * 1_000_000; sys.exit(m.main(['--help']))"
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -c 1', "-", sys.executable, "-c", code], cwd=ROOT, capture_output=True
    )
    assert (done.stdout, done.stderr) == (b"x", b"")


# --- run.sh, with an installer that only writes down what it was asked

UV = """#!/usr/bin/env bash
echo "$*" >>"$LOG"
case $1 in
    venv) mkdir -p "${@: -1}/bin" && cp "$PYTHON" "${@: -1}/bin/python" ;;
    pip) sleep "${UV_SLEEPS:-0}"; exit "${UV_EXITS:-0}" ;;
esac
"""
PYTHON = """#!/usr/bin/env bash
case $1 in
    -c) exit 0 ;;
    --version) echo "Python 3.12.0" ;;
    *) printf '<%s>' "$@"; exit "${PYTHON_EXITS:-0}" ;;
esac
"""


class Clone:
    """A bare copy of what run.sh reads, in a folder with a space, and the calls that reached the installer."""

    def __init__(self, folder: Path):
        self.home, self.log, tools = folder / "a clone", folder / "log", folder / "tools"
        (self.home / "vit_jax").mkdir(parents=True)
        tools.mkdir()
        for name in ("run.sh", "requirements.txt", "pyproject.toml", "vit_jax/__main__.py"):
            shutil.copy(ROOT / name, self.home / name)
        for name, script in (("uv", UV), ("fake_python", PYTHON)):
            (tools / name).write_text(script)
            (tools / name).chmod(0o755)
        self.environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "LOG": str(self.log),
            "PYTHON": str(tools / "fake_python"),
        }
        self.folder = folder

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.home / "run.sh", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def installs(self) -> int:
        return self.log.read_text().count("pip install") if self.log.exists() else 0


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


@needs_bash
def test_help_needs_no_environment(clone):
    before = sorted(clone.folder.rglob("*"))
    started = time.perf_counter()
    code, out, _ = clone.run("--help")
    assert time.perf_counter() - started < 1
    assert code == 0
    assert all(f"./run.sh {verb} " in out and does in out for verb, (_, does) in verbs.VERBS.items())
    assert sorted(clone.folder.rglob("*")) == before


@needs_bash
def test_an_unknown_verb_installs_nothing(clone):
    assert clone.run("nonsense") == (2, "", 'run.sh: error: there is no verb "nonsense"; ./run.sh --help lists them\n')
    assert not (clone.home / ".venv").exists()


@needs_bash
def test_the_first_start_sets_up_and_the_next_does_not(clone):
    code, out, err = clone.run("predict", "a photo.png", PYTHON_EXITS="7")
    assert (code, out) == (7, "<-m><vit_jax><predict><a photo.png>")
    assert "ready" in err
    assert clone.run() == (0, "<-m><vit_jax><miniature>", "")
    assert clone.installs() == 1
    assert clone.run("test", "-k", "a or b")[1].endswith("<-k><a or b>")
    assert clone.installs() == 2
    assert "[test]" in clone.log.read_text().splitlines()[-1]


@needs_bash
def test_new_requirements_are_installed(clone):
    clone.run()
    with (clone.home / "requirements.txt").open("a") as requirements:
        requirements.write("toolz\n")
    clone.run()
    clone.run()
    assert clone.installs() == 2


@needs_bash
def test_a_failed_install_is_never_used(clone):
    code, out, err = clone.run(UV_EXITS="1")
    assert (code, out) == (2, "")
    assert "the install failed" in err
    assert clone.run()[:2] == (0, "<-m><vit_jax><miniature>")


@needs_bash
def test_a_killed_set_up_is_made_anew(clone):
    clone.run()
    process = clone.start("test", UV_SLEEPS="60")
    while clone.installs() < 2:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (clone.home / ".venv" / "left").touch()
    code, out, err = clone.run()
    assert (code, out) == (0, "<-m><vit_jax><miniature>")
    assert "cut short" in err
    assert not (clone.home / ".venv" / "left").exists()


@needs_bash
@pytest.mark.skipif(shutil.which("flock") is None, reason="run.sh locks with flock where there is one")
def test_two_starts_set_up_once(clone):
    both = [clone.start(UV_SLEEPS="0.3") for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == ["<-m><vit_jax><miniature>"] * 2
    assert clone.installs() == 1
