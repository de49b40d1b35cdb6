"""Where numba keeps the machine code of librosa's functions, and who may compile it.

numba's own cache is not made for processes that fill it side by side: two that compile different functions of a
module at once can give both one file name, and from then on the wrong code runs, or crashes. Here one process
compiles while the others wait. Import this before librosa.
"""

import fcntl
import hashlib
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

# per machine, since machine code and locks are; a user's own setting comes first
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cmc"
FOLDER = Path(os.environ.setdefault("NUMBA_CACHE_DIR", str(HOME / f"numba-{platform.node()}")))


def compile_once(name: str, work: Callable[[], object]) -> None:
    """Do `work`, which calls functions that numba compiles, unless some process has done it before.

    Parameters
    ----------
    name : str
        Of the work; with `environment` it says what is in the cache.
    work : callable
        Must call every function with the argument types that it will meet.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    done = FOLDER / f"{name}-{environment()}.done"
    if done.exists():
        return
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            work()
            done.touch()


def environment() -> str:
    """What decides which functions are compiled, and where numba keeps them: the libraries, the place where they
    are installed, and our code that calls them."""
    digest = hashlib.sha256()
    for library in ("numba", "librosa"):
        digest.update(
            f"{library} {version(library)} {getattr(find_spec(library), 'origin', None)}\n".encode()
        )
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
