"""What every extractor returns, and how it says that a clip can't be used.

An extractor is a file in `cmc/features/extractors`, named as it is chosen in the config, and a line in the list
there. Its class is a context manager with

    name, version    what made the features
    settings         the features depend on them; they go into the feature file
    columns          the name of each dimension
    rate             rows a second; None for tokens, and where it differs from clip to clip
    dtype            'float32' or 'float16', of the stored values; see `cmc.features.store.Recipe`
    extract(path)    the Features of one clip, or Unusable raised: Absent where a good clip lacks the modality,
                     so that predictions can do without. For text: extract(transcripts) yields them, Unusable among
                     them

The file also has constants that are read without importing it, since many bring libraries that take seconds:

    SETTINGS         keyword argument of the class -> its JSON schema. Without `default` it must be given.
                     `format: file` marks a path, and `format: encoder` a model by hub name, directory or package,
                     that the features depend on
    READS            only if it reads files that another program wrote, not the clip's video: {"folder": ...,
                     "suffix": ...} of <root>/<folder>/<video>/<clip><suffix>. Its setting `folder` may tell
                     another place
    NEEDS            only if it imports a package that does not come with ours: package -> the command that
                     installs it
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


class Unusable(Exception):
    """A clip that a stage can't use. The message is the reason that the quarantine list shows."""


class Absent(Unusable):
    """A clip that is sound but lacks the modality: no such track, no face in it."""


@dataclass(frozen=True)
class Features:
    """Features of one clip in one modality.

    Attributes
    ----------
    values : ndarray (frames, dims), float32, or the dtype that they are stored in
        One row a frame or token. A row is all NaN where nothing was found (a frame without a face);
        everything else is finite.
    times : ndarray (frames,), float64, or None
        Seconds from the clip's start at which each row lies; None for text, whose rows are tokens.
    token_ids : ndarray (frames,), int32, or None
        Text only: the tokenizer's id of each row, special tokens included.
    quality : mapping of str to float
        Figures about the clip for extraction.csv, such as the share of frames with a face; see
        `cmc.features.extract.QUALITY`.
    """

    values: np.ndarray
    times: np.ndarray | None = None
    token_ids: np.ndarray | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
