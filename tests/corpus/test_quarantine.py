import pandas as pd
import pytest

from cmc.corpus import quarantine


def refused(**reasons):
    rows = [(clip, "manifest", reason) for clip, reason in reasons.items()]
    return pd.DataFrame(rows, columns=quarantine.COLUMNS)


def test_a_duplicate_whose_first_row_is_used_is_no_loss():
    listed = refused(a="duplicate id", b="empty transcript")
    quarantine.check(listed, ["a", "c", "d"], 0.25, "q.csv")
    with pytest.raises(
        quarantine.QuarantineError, match=r"(?s)^1 of 4 clips.*1 empty transcript\n.*q\.csv"
    ) as error:
        quarantine.check(listed, ["a", "c", "d"], 0.24, "q.csv")
    assert "duplicate" not in str(error.value)


def test_a_clip_is_lost_once():
    listed = pd.concat([refused(a="no face"), refused(a="no audio"), refused(b="no face")])
    with pytest.raises(quarantine.QuarantineError, match=r"(?s)^2 of 3 clips.*2 no face.*1 no audio"):
        quarantine.check(listed, ["c"], 0.5, "q.csv")
    quarantine.check(listed, ["c"], 2 / 3, "q.csv")
    quarantine.check(refused(), [], 0, "q.csv")
