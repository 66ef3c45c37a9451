"""The command line: a command a file, each found through the registry as anybody else's would be."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # exit code


def main(arguments=None):
    """``engine COMMAND ...``: one line and exit code 2 (3 for physics) for whatever a person can put right.

    arguments : what follows ``engine`` on the command line; by default the process's own
    """
    import typer

    from engine import parallel, registry
    from engine.errors import EngineError

    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                      help="Molecular dynamics in Python.")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    wanted = next((a for a in arguments if not a.startswith("-")), None)
    names = registry.names("commands")
    for name in [wanted] if wanted in names else names:
        try:
            function = registry.get("commands", name)
        except EngineError as error:
            def function(reason=str(error)):
                raise EngineError(reason)
            function.__doc__ = "(could not be loaded)"
        app.command(name, context_settings={"help_option_names": ["-h", "--help"]})(function)
    if len(names) == 1 or wanted in names:
        app.callback()(_callback)
    try:
        if parallel.launched():
            if wanted in names and not getattr(function, "on_ranks", False):
                parallel.refuse(f"`engine {wanted}` is not made for an MPI launcher, which has started several processes: "
                                "start one (`engine train` on several: start it with torchrun)")
            parallel.world()  # before anything can fail, so that an error is said once
        code = app(arguments, standalone_mode=False, prog_name="engine")
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        if isinstance(code, int) and code:
            sys.exit(code)
    except EngineError as error:
        parallel.end_all(error)
        _say(" ".join(str(error).split("\n")))
        sys.exit(error.code)
    except MemoryError as error:
        parallel.end_all(error)
        _say(f"the memory of this machine is not enough: {error or 'an array could not be made'}")
        sys.exit(2)
    except KeyboardInterrupt as error:
        parallel.end_all(error)
        _say("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        parallel.end_all(error)
        show = getattr(error, "show", None)  # usage errors of the command line
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))


def _callback():
    """Molecular dynamics in Python."""


def _say(text):
    print(f"engine: {text}", file=sys.stderr)
