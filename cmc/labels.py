"""Classes of sentiment or emotion, and how a label falls into them."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np

CLASSES = ("negative", "neutral", "positive")
NEGATIVE, NEUTRAL, POSITIVE = range(len(CLASSES))
Has0 = Literal["nonpositive_positive", "negative_nonnegative"]
Array = TypeVar("Array")
LONGEST = 40  # name of a class, after which columns and folders are called
# what readers of tables take for something else than text
NO_TEXT = frozenset("true false yes no on off nan na none null nil inf infinity nat".split())
# columns of tables beside those of the classes
TAKEN = frozenset(
    "absent class clip consistent dissents end face_pixels faces features label missing model prediction silence"
    " start tokens transcript unknown voiced non0".split()
)


@dataclass(frozen=True)
class Scheme:
    """How the labels of a data set fall into classes: numbers by their sign, or emotions by name.

    Attributes
    ----------
    names : tuple of str or None
        Of the emotions, in the order of their classes; None of polarity, whose labels are numbers.
    has0 : {"nonpositive_positive", "negative_nonnegative"} or None
        Of polarity: the side that neutral clips join in the two-class reading (see `binary`), where it matters.
    """

    names: tuple[str, ...] | None = None
    has0: Has0 | None = None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Scheme":
        """The scheme that a file tells: `classes`, and `has0` if it is polarity."""
        return cls(None if facts["has0"] else tuple(facts["classes"]), facts["has0"])

    @property
    def facts(self) -> dict[str, Any]:
        """What `of` reads."""
        return {"classes": list(self.classes), "has0": self.has0}

    @property
    def polar(self) -> bool:
        """Whether it is polarity."""
        return self.names is None

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class."""
        return self.names or CLASSES

    def numbers(self, labels: np.ndarray) -> np.ndarray:
        """Class (n,) int of each label: a number, or a name of `names`.

        Raises
        ------
        ValueError
            If a label is absent or has no class; the message names the first one.
        """
        if self.names is None:
            return polarity(labels)
        places = {name: place for place, name in enumerate(self.names)}
        if wrong := [label for label in labels if label not in places]:
            raise ValueError(
                f"label {wrong[0]!r} is no class ({len(wrong)} of {len(labels)} such); there are"
                f" {', '.join(self.names)}"
            )
        return np.array([places[label] for label in labels], dtype=np.int64)

    def groups(self, classes: Array) -> Array:
        """What the contrastive loss pulls apart: the two groups of polarity's headline accuracy, else each class.

        Parameters
        ----------
        classes : ndarray or Tensor of int
        """
        return classes if self.names else classes >= first_high(self.has0)  # type: ignore[operator, return-value]


def check_name(name: Any) -> None:
    """Refuse what can't be the name of a class.

    Raises
    ------
    ValueError
        Says what names are like.
    """
    if not isinstance(name, str) or not _fits(name) or name in TAKEN or name.casefold() in NO_TEXT:
        raise ValueError(
            f"{name!r} can't be a class: a name begins with a letter, has letters, digits, spaces, - and _, up to"
            f" {LONGEST}, ends with no space, and is none of {', '.join(sorted(TAKEN | NO_TEXT))}"
        )


def _fits(name: str) -> bool:
    """Whether a name has but the characters it may; marks belong to the letters of many scripts."""
    known = all(c.isalnum() or c in " -_" or unicodedata.category(c).startswith("M") for c in name)
    return known and 0 < len(name) <= LONGEST and name[0].isalpha() and not name.endswith(" ")


def spelled(label: str) -> str:
    """How a label is looked up: without regard to case, spaces around it, and how its accents are coded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", label).strip().casefold())


def given(labels: np.ndarray) -> np.ndarray:
    """Which labels are there (n,) bool: numbers that are not NaN, names that are not empty."""
    labels = np.asarray(labels)
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels != ""


def polarity(labels: np.ndarray) -> np.ndarray:
    """Class of each regression label: its sign.

    Parameters
    ----------
    labels : (n,) float
        Sentiment, in [-1, 1] (CH-SIMS) or [-3, 3] (CMU-MOSI, CMU-MOSEI); only the sign counts.

    Returns
    -------
    (n,) int
        0 negative (y < 0), 1 neutral (y = 0), 2 positive (y > 0).

    Raises
    ------
    ValueError
        If a label is NaN or infinite; the message names the first such index.
    """
    labels = np.asarray(labels, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(labels))
    if wrong.size:
        raise ValueError(
            f"label {labels[wrong[0]]} at index {wrong[0]} has no polarity ({wrong.size} of {labels.size}"
            " such); leave out clips without a label"
        )
    return np.sign(labels).astype(np.int64) + NEUTRAL


def binary(classes: np.ndarray, has0: Has0) -> np.ndarray:
    """Two-class reading of three classes: `has0` says which side the neutral clips join.

    Parameters
    ----------
    classes : (n,) int
        0 negative, 1 neutral, 2 positive.
    has0 : {"nonpositive_positive", "negative_nonnegative"}
        CH-SIMS reads non-positive / positive, CMU-MOSI and CMU-MOSEI negative / non-negative.

    Returns
    -------
    (n,) int
        0 or 1.

    Raises
    ------
    ValueError
        If `has0` is neither of the two.
    """
    return (np.asarray(classes) >= first_high(has0)).astype(np.int64)


def first_high(has0: Has0 | None) -> int:
    """The lowest class of the upper side; see `binary`."""
    if has0 not in get_args(Has0):
        raise ValueError(f"has0 is {has0!r}; choose one of {', '.join(get_args(Has0))}")
    return POSITIVE if has0 == "nonpositive_positive" else NEUTRAL
