"""What code a stage runs, as one checksum. Standard library alone.

A result is made again when the code behind it changes, and only then: what counts is what the modules hold, not
where they lie, what they are called, or how they import each other.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


@cache
def checksum(*modules: str) -> str:
    """Checksum of modules of this package and of all that they import from it.

    An import inside a function does not count: it is there since not every caller needs it.

    Parameters
    ----------
    *modules : str
        Paths in the package without their suffix: "training/pretrain".

    Returns
    -------
    str
        SHA-256 as hexadecimal digits.

    Raises
    ------
    FileNotFoundError
        If there is no such module.
    """
    found: set[Path] = set()
    todo = [PACKAGE / f"{module}.py" for module in modules]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += _read(path)[1]
    contents = sorted(_read(path)[0] for path in found)
    return hashlib.sha256("".join(contents).encode()).hexdigest()


@cache
def _read(path: Path) -> tuple[str, tuple[Path, ...]]:
    """Checksum of a module without its imports from this package, and the files that those are of."""
    source = path.read_bytes()
    lines = source.splitlines(keepends=True)
    imported: list[Path] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1 : last] = [b""] * (last - node.lineno + 1)
            # a module of a package, or what a module holds
            named = ((f"{node.module}.{alias.name}", node.module or "") for alias in node.names)
            imported += [file for names in named if (file := next(filter(None, map(_file, names)), None))]
    # what separates the import lines does not count either, or sorting them would
    own = b"".join(line for line in lines if line.strip())
    return hashlib.sha256(own).hexdigest(), tuple(imported)


def _file(name: str) -> Path | None:
    """The file of a module or package of ours; None if the name is of something else."""
    stem = PACKAGE.joinpath(*name.split(".")[1:])
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)
