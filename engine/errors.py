"""Errors that a person reads: one line that says what was wrong, where, and what to do."""


class EngineError(Exception):
    """Base of everything the engine raises on purpose; the command line prints it in one line and exits with `code`."""

    code = 2


class InputError(EngineError):
    """Something in an input file, a structure, a potential file or an argument cannot be used."""


class PhysicsError(EngineError):
    """A run went wrong physically: NaN, exploding energy, overlapping atoms."""

    code = 3


def shown(path) -> str:
    """A path as a person would write it: relative where it lies below the working directory."""
    import os

    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def one_line(error) -> str:
    """What an exception says, which may be nothing, behind its kind."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def nearest(word: str, allowed) -> str:
    """` (did you mean 'x'?)` for the closest of `allowed`, or an empty string."""
    import difflib

    found = difflib.get_close_matches(str(word), [str(a) for a in allowed], n=1, cutoff=0.5)
    return f" (did you mean '{found[0]}'?)" if found else ""
