"""``engine new-plugin NAME``: an installable package with a potential of its own, its tests and a README."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated

import typer

FILES = {  # where each template goes
    "setup.cfg": "setup.cfg", "pyproject.toml": "pyproject.toml", "README.md": "README.md",
    "package.py": "{module}/__init__.py", "potential.py": "{module}/potential.py",
    "test_contract.py": "tests/test_contract.py", "input.toml": "example/input.toml",
}


def new_plugin(
    name: Annotated[str, typer.Argument(help="name of the potential: small letters, digits and hyphens")],
    folder: Annotated[str, typer.Option(help="where to make the package's folder")] = ".",
):
    """Write a plugin package with a potential, its contract tests and a README."""
    target = create(name, Path(folder))
    print(f"{target} is written; try: cd {target} && pip install -e '.[test]' && pytest")


def create(name: str, folder: Path) -> Path:
    """Write the package into `folder`/`name` and return that path; nothing that exists is touched."""
    from importlib.resources import files
    from importlib.util import find_spec

    from engine import registry
    from engine.errors import InputError

    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise InputError(f"'{name}' cannot name a plugin: use small letters, digits and single hyphens, as in 'my-potential'")
    if name in registry.names("potentials"):
        raise InputError(f"a potential called '{name}' is already registered; choose another name")
    if find_spec(module) is not None:
        raise InputError(f"a Python package called '{module}' is already installed; choose another name")
    target = folder / name
    if target.exists():
        raise InputError(f"{target} exists already; choose another name or another --folder")
    words = {"@NAME@": name, "@MODULE@": module, "@CLASS@": "".join(part.capitalize() for part in name.split("-"))}
    try:
        for template, place in FILES.items():
            text = files("engine.cli.scaffold").joinpath(f"{template}.template").read_text()
            for mark, word in words.items():
                text = text.replace(mark, word)
            path = target / place.format(module=module)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}") from None
    return target
