"""From a name to a class, and from a class and options to an instance.

A table maps a name to ``"module:Class"``, so that naming a thing does not import it. ``module:Name`` and
``./file.py:name`` work wherever a name does, for code of one's own; such code is loaded only where the caller says
that its user named it. A module may lie in the current directory, which is looked in last.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqgan_music.errors import UsageError

Table = Mapping[str, str]
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def shortcut(component: Any, name: str, of: str) -> Any:
    """A component's quicker form of one of its methods.

    Parameters
    ----------
    component : object
    name : str
        The quicker form's, which a component need not have.
    of : str
        The method it stands for.

    Returns
    -------
    callable or None
        None if there is none, or if a derived class changed the method and not its quicker form.
    """
    kind = type(component)
    if not hasattr(kind, name):
        return None
    quicker, plain = (next(base for base in kind.__mro__ if method in vars(base)) for method in (name, of))
    return getattr(component, name) if issubclass(quicker, plain) else None


def resolve(table: Table, kind: str, name: str, *, own_code: bool = False) -> Any:
    """Find what a name stands for.

    Parameters
    ----------
    table : mapping of str to str
        Name to ``"module:attribute"``.
    kind : str
        What the table lists, for messages: ``"tokenizer"``.
    name : str
        A name of the table, ``module:Name`` or ``./file.py:name``.
    own_code : bool
        Whether `name` was given by the user, so that code outside this package may be loaded.

    Raises
    ------
    UsageError
        Unknown name (with the nearest known one), or code that cannot be loaded.
    """
    if not isinstance(name, str):
        raise UsageError(f"the name of a {kind} must be a text, not {name!r}; there are: {', '.join(table)}")
    if name in table:
        module, _, attribute = table[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    if ":" not in name:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(table)}"
        raise UsageError(f"unknown {kind} {name!r}; {hint}")
    if not own_code:
        raise UsageError(
            f"{kind} {name!r} is code outside seqgan-music, which a saved run does not get to load by itself; "
            f"if you trust it, say --own-code (in Python own_code=True)"
        )
    source, _, attribute = name.rpartition(":")
    loaded = _load_file(Path(source), kind) if source.endswith(".py") else _load_module(source, kind)
    try:
        return getattr(loaded, attribute)
    except AttributeError:
        raise UsageError(f"{kind} {name!r}: {source} has nothing named {attribute!r}") from None


def _load_module(source: str, kind: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:  # as under `python -m`, but last: a file beside the user's music replaces no library
        sys.path.append(here)
    try:
        return importlib.import_module(source)
    except (Exception, SystemExit) as error:  # whatever a user's module raises is that module's fault, and is said so
        raise UsageError(f"{kind}: cannot import {source!r}: {type(error).__name__}: {error}") from error


class _Source(importlib.machinery.SourceFileLoader):
    """Reads a file as it is now: code that was kept of it is taken for as new as the second says, and would be left
    beside the user's file."""

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)


def _load_file(path: Path, kind: str) -> Any:
    path = path.expanduser()
    if not path.is_file():
        raise UsageError(f"{kind}: no such file: {path}{'' if path.is_absolute() else f' (in {Path.cwd()})'}")
    name = f"seqgan_music_own_{path.stem}"
    version = (path.resolve(), path.stat().st_mtime_ns, path.stat().st_size)
    if name in sys.modules and getattr(sys.modules[name], "__version_on_disk__", None) == version:
        return sys.modules[name]  # a run asks several times, and what a file does when it is loaded may take long
    where = os.path.abspath(path)  # as in the module's __file__, by which errors find their lines
    spec = importlib.util.spec_from_file_location(name, where, loader=_Source(name, where))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__version_on_disk__ = version  # type: ignore[attr-defined]
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's file raises is that file's fault, and is said so
        del sys.modules[name]
        raise UsageError(f"{kind}: {path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def options_of(factory: Any) -> dict[str, Any]:
    """Keyword-only options of a constructor or function and their defaults.

    Those of a base class are among them where a constructor takes ``**options`` to hand them on.

    Examples
    --------
    >>> def window(length, *, stride=4): ...
    >>> options_of(window)
    {'stride': 4}
    """
    return {name: p.default for name, p in _parameters(factory).items() if p.default is not p.empty}


def _parameters(factory: Any) -> dict[str, inspect.Parameter]:
    """Keyword-only parameters by name, a base class's first."""
    signature = inspect.signature(factory).parameters.values()
    found = {p.name: p for p in signature if p.kind is p.KEYWORD_ONLY}
    if isinstance(factory, type) and any(p.kind is p.VAR_KEYWORD for p in signature):
        constructors = [cls for cls in factory.__mro__ if "__init__" in vars(cls)]
        for base in constructors[1:2]:
            return _parameters(base) | found
    return found


def check_options(factory: Any, options: Mapping[str, Any], what: str) -> None:
    """Refuse an option that `factory` does not have, and a value of another kind than its annotation says.

    Raises
    ------
    UsageError
        With the list of the options that exist.
    """
    known = options_of(factory)
    kinds = {name: kind for kind in _KINDS for name in (kind, kind.__name__)}
    for option, value in options.items():
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"{what} has no option {option!r}; {hint}it has: {', '.join(sorted(known)) or 'none'}")
        annotation = _parameters(factory)[option].annotation
        if annotation in kinds:
            check_type(value, kinds[annotation], f"{what}: {option}")


def check_type(value: Any, kind: type, what: str) -> None:
    """Refuse a value that is not a `kind`: bool, int, float or str; a whole number is a number too.

    Raises
    ------
    UsageError
    """
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{what} must be {_KINDS[kind]}, not {value!r}")


def describe(factory: Any) -> str:
    """First line of a component's docstring."""
    return (inspect.getdoc(factory) or "").partition("\n")[0]
