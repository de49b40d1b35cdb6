import pandas as pd
import pytest

from cmc.corpus import quarantine


def refused(**reasons):
    rows = [(clip, "manifest", reason) for clip, reason in reasons.items()]
    return pd.DataFrame(rows, columns=quarantine.COLUMNS)


def test_each_row_that_the_manifest_refuses_is_lost_though_its_clip_be_used():
    listed = pd.concat([refused(a="duplicate id", b="empty transcript"), refused(a="duplicate id")])
    quarantine.check(listed, ["a", "c", "d"], 0.5, "q.csv")
    told = r"(?s)^3 of 6 clips.*2 duplicate id\n.*1 empty transcript\n.*q\.csv"
    with pytest.raises(quarantine.QuarantineError, match=told):
        quarantine.check(listed, ["a", "c", "d"], 0.49, "q.csv")


def test_a_clip_is_lost_once():
    listed = pd.concat([refused(a="no face"), refused(a="no audio"), refused(b="no face")])
    listed = listed.assign(stage="vision")
    with pytest.raises(quarantine.QuarantineError, match=r"(?s)^2 of 3 clips.*2 no face.*1 no audio"):
        quarantine.check(listed, ["c"], 0.5, "q.csv")
    quarantine.check(listed, ["c"], 2 / 3, "q.csv")
    quarantine.check(refused(), [], 0, "q.csv")
