"""What the user asked for: the data sets among it, and targets that nothing makes."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from cmc.planning.config import PlanError, unread
from cmc.planning.data import DEMO
from cmc.planning.variants import COMPARED, TABLE

SHOWN = 3  # near names
COMPARING = ("significance", "cost")  # what is of the models of several tables
ALL = "all"
CROSS = "results/cross_dataset.csv"
RESULT = re.compile(r"(?:\./)?results/(?P<dataset>[^/]+)/(?P<product>.+)")


def datasets(
    targets: Iterable[str], known: Collection[str], pairs: Iterable[Mapping[str, str]] = ()
) -> list[str]:
    """The data sets that targets are of; the demo where there is no target.

    `pairs` are those of the config's `cross_dataset`.

    Raises
    ------
    PlanError
        If a target is of a data set that the config does not have.
    """
    targets, found = list(targets), []
    for target in targets:
        if match := RESULT.fullmatch(target):
            check_dataset(match["dataset"], known)
            found.append(match["dataset"])
        elif target.removeprefix("./") == CROSS:
            found += [name for pair in pairs for name in pair.values()]
    return list(dict.fromkeys(found)) if targets else [DEMO]


def tables(targets: Iterable[str], dataset: str, known: Collection[str]) -> list[str]:
    """The tables of a data set that targets are, or else need: the headline one where none is named."""
    matches = [match for target in targets if (match := RESULT.fullmatch(target))]
    named = [match["product"].removesuffix(".csv") for match in matches if match["dataset"] == dataset]
    if ALL in named:
        return list(known)
    if set(named) & set(COMPARING):
        named += COMPARED
    return list(dict.fromkeys(table for table in named if table in known)) or [TABLE]


def check_dataset(name: str, known: Collection[str]) -> None:
    """Raise PlanError if the config does not have a data set."""
    if name not in known:
        raise PlanError(
            f"There is no data set {name}.{near(name, known)}\n"
            f"The config has: {', '.join(known)}. docs/datasets.md says how to add one.{unread()}"
        )


def check(
    targets: Iterable[str],
    makes: Callable[[str], bool],
    products: Collection[str],
    predictions: Collection[str] = (),
) -> None:
    """Raise PlanError for a target that no rule makes.

    Parameters
    ----------
    targets : iterable of str
    makes : callable
        Whether some rule, or its name, is a target.
    products : collection of str
        What there is of every data set, for people.
    predictions : collection of str
        What the config names to be predicted.
    """
    for target in targets:
        if makes(target):
            continue
        within = Path(target).absolute()
        if Path(target).is_absolute() and within.is_relative_to(Path.cwd()):
            inside = within.relative_to(Path.cwd())
            raise PlanError(f"Nothing makes {target}. Write {inside}, without the folders above.")
        match = RESULT.fullmatch(target)
        place = f"results/{match['dataset']}/" if match else "results/<data set>/"
        product = match["product"] if match else target.removeprefix("results/")
        if product.startswith("predictions/"):
            raise PlanError(
                f"Nothing makes {target}. Name the clips under `predictions` in the config; it has:"
                f" {', '.join(predictions) or 'none'}."
            )
        if Path(target).is_dir():
            raise PlanError(f"{target} is a folder: name a file in it, or results/<data set>/{ALL}.")
        if guess := (not match and near(target, [CROSS])) or near(product, products, place):
            raise PlanError(f"Nothing makes {target}.{guess}")
        raise PlanError(
            f"Nothing makes {target}.\nIn {place} there can be: {', '.join(products)}; <variant>/seed<n>/ has what"
            " each run wrote."
        )


def near(name: str, known: Collection[str], place: str = "") -> str:
    """The names that are meant, perhaps, with the folder that they are in."""
    found = get_close_matches(name, known, SHOWN)
    return f" Did you mean {' or '.join(f'{place}{one}' for one in found)}?" if found else ""
