import math

import pytest

from cmc import manifest

HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"


def read(tmp_path, text, encoding="utf-8", label_range=(-1, 1)):
    path = tmp_path / "label.csv"
    path.write_bytes(text.encode(encoding))
    return manifest.read(path, label_range)


def reason(tmp_path, row):
    found = read(tmp_path, HEADER + "v,1,fine,0,0,0,0,Neutral,train\n" + row)
    assert [clip.clip for clip in found.clips] == ["v$_$1"]
    [(_clip, stage, why)] = found.refused
    assert stage == "manifest"
    return why


def test_ids_stay_text(tmp_path):
    [clip] = read(tmp_path, HEADER + "video_0001,0001,hello,0.4,1,-0.2,0,Positive,train\n").clips
    assert (clip.clip, clip.video) == ("video_0001$_$0001", "video_0001")
    assert (clip.M, clip.T, clip.A, clip.V, clip.split) == (0.4, 1, -0.2, 0, "train")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_encodings(tmp_path, encoding):
    [clip] = read(tmp_path, HEADER + "v,1,我很高兴,1,1,1,1,Positive,test\n", encoding).clips
    assert clip.text == "我很高兴"


def test_unimodal_labels_may_be_absent(tmp_path):
    [clip] = read(
        tmp_path, "video_id,clip_id,text,label,mode\nv,1,fine,-2.4,valid\n", label_range=(-3, 3)
    ).clips
    assert clip.M == -2.4 and math.isnan(clip.T) and math.isnan(clip.A) and math.isnan(clip.V)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("v,1,again,0,0,0,0,Neutral,train\n", "duplicate id"),
        ("v,2,x,1.2,0,0,0,Positive,train\n", r"label 1\.2 is outside \[-1, 1\]"),
        ("v,2,x,1,0,-3,0,Positive,train\n", r"label_A -3 is outside"),
        ("v,2,x,nan,0,0,0,Positive,train\n", "label nan is outside"),
        ("v,2,x,much,0,0,0,Positive,train\n", "label 'much' is no number"),
        ("v,2,x,1,0,0,0,Positive,dev\n", "unknown split 'dev'"),
        ("v,2,  ,1,0,0,0,Positive,train\n", "empty transcript"),
        ("../v,2,x,1,0,0,0,Positive,train\n", "no plain file name"),
        ("v,/etc/passwd,x,1,0,0,0,Positive,train\n", "no plain file name"),
        ("v,{clip},x,1,0,0,0,Positive,train\n", "no plain file name"),
        ("v,2,a, b,1,0,0,0,Positive,train\n", "more than the header"),
        ("v,2\n", "unknown split ''"),
    ],
)
def test_rows_that_cannot_be_used_are_listed(tmp_path, row, expected):
    import re

    assert re.search(expected, reason(tmp_path, row))


def test_files_that_cannot_be_used_stop(tmp_path):
    with pytest.raises(manifest.ManifestError, match="lacks the columns clip_id, mode"):
        read(tmp_path, "video_id,text,label\nv,x,1\n")
    with pytest.raises(manifest.ManifestError, match="comma-separated"):
        read(tmp_path, HEADER.replace(",", ";"))
    with pytest.raises(manifest.ManifestError, match="no rows"):
        read(tmp_path, HEADER)
    with pytest.raises(manifest.ManifestError, match="UTF-8"):
        (tmp_path / "label.csv").write_bytes(b"\xff\xfe\xfa\xff")
        manifest.read(tmp_path / "label.csv", (-1, 1))


def test_links_out_of_the_root_are_refused(tmp_path):
    root = tmp_path / "data"
    (root / "Raw" / "v").mkdir(parents=True)
    (tmp_path / "secret.mp4").touch()
    (root / "Raw" / "v" / "1.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(manifest.ManifestError, match="link out of"):
        manifest.video_path(root, "v$_$1")


def test_other_extensions_are_found(tmp_path):
    (tmp_path / "Raw" / "v").mkdir(parents=True)
    (tmp_path / "Raw" / "v" / "1.webm").touch()
    assert manifest.video_path(tmp_path, "v$_$1").name == "1.webm"
    assert manifest.video_path(tmp_path, "v$_$2").name == "2.mp4"


def test_shards_hold_each_clip_once_and_stay_put():
    clips = [f"v$_${i:04d}" for i in range(90)]
    parts = manifest.shards(clips, 20)
    assert sorted(clip for part in parts.values() for clip in part) == clips and len(parts) == 8
    for changed in ([c for c in clips if c != "v$_$0042"], [*clips, "v$_$9999"]):
        other = manifest.shards(changed, 20)
        assert sum(parts[number] != other[number] for number in parts) == 1


def test_line_breaks_inside_a_transcript_break_no_row(tmp_path):
    text = 'v,1,good\u2028day\x0bto you,1,1,1,1,Positive,train\nv,2,"two\rlines\n",1,1,1,1,Positive,train\n'
    found = read(tmp_path, HEADER + text)
    assert [clip.text for clip in found.clips] == ["good day to you", "two lines"] and not found.refused


def test_tables_are_written(tmp_path):
    found = read(tmp_path, HEADER + 'v,1,"a, b",0.2,,,,Positive,train\nv,1,again,0,0,0,0,Neutral,train\n')
    manifest.write(found, tmp_path / "clips.csv", tmp_path / "refused.csv")
    assert (
        tmp_path / "clips.csv"
    ).read_text() == 'clip,video,text,split,M,T,A,V\nv$_$1,v,"a, b",train,0.2,,,\n'
    assert (tmp_path / "refused.csv").read_text().startswith("clip,stage,reason\nv$_$1,manifest,duplicate id")
