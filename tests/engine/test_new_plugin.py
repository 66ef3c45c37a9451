"""A scaffolded plugin: its own contract tests pass, it is found by its entry point and it runs."""

import os
import subprocess
import sys

import pytest

from engine.cli.new_plugin import create
from engine.errors import InputError


def run(*arguments, folder, path):
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_scaffold_installs_passes_and_runs(tmp_path):
    package = create("gaussian-core", tmp_path)
    # what an editable install leaves behind, without pip: metadata with the entry point beside the package
    made = run("-c", "import setuptools; setuptools.setup()", "-q", "egg_info", folder=package, path=package)
    assert made.returncode == 0, made.stderr
    tests = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", folder=package, path=package)
    assert tests.returncode == 0 and "passed" in tests.stdout, tests.stdout[-3000:]
    listed = run("-m", "engine", "plugins", folder=tmp_path, path=package)
    assert "gaussian-core" in listed.stdout, listed.stdout + listed.stderr
    toml = (package / "example/input.toml").read_text().replace("steps = 500", "steps = 20").replace("thermo = 50", "thermo = 10")
    (tmp_path / "input.toml").write_text(toml)
    ran = run("-m", "engine", "run", "input.toml", folder=tmp_path, path=package)
    assert ran.returncode == 0 and (tmp_path / "run.h5md").exists(), ran.stderr


@pytest.mark.parametrize("name, message", [
    ("My_Potential", "cannot name"), ("class", "cannot name"), ("lj", "already registered"), ("numpy", "already installed"),
])
def test_names_that_are_refused(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        create(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "soft-core").mkdir()
    with pytest.raises(InputError, match="exists already"):
        create("soft-core", tmp_path)
