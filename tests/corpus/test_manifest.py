import math
import re

import pandas as pd
import pytest

from cmc.corpus import manifest, quarantine

HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"


def read(tmp_path, text, encoding="utf-8", label_range=(-1, 1)):
    path = tmp_path / "label.csv"
    path.write_bytes(text.encode(encoding))
    return manifest.read(path, manifest.Rules(label_range))


def reason(tmp_path, row):
    found = read(tmp_path, HEADER + "v,1,fine,0,0,0,0,Neutral,train\n" + row)
    assert [clip.clip_id for clip in found.clips] == ["v$_$1"]
    [(_clip, stage, why)] = found.refused
    assert stage == "manifest"
    return why


def test_ids_stay_text(tmp_path):
    [clip] = read(tmp_path, HEADER + "video_0001,0001,hello,0.4,1,-0.2,0,Positive,train\n").clips
    assert (clip.clip_id, clip.video_id) == ("video_0001$_$0001", "video_0001")
    assert (clip.label, clip.label_T, clip.label_A, clip.label_V, clip.split) == (0.4, 1, -0.2, 0, "train")


def test_ids_that_look_like_something_else_come_back_as_they_are(tmp_path):
    ids = ["0001", "NA", "1e5", "None", "-0", "03_0", "a b", "视频"]
    found = read(tmp_path, HEADER + "".join(f"{i},{i},fine,0,,,,Neutral,train\n" for i in ids))
    manifest.write(found, tmp_path / "clips.csv", tmp_path / "refused.csv")
    table = pd.read_csv(tmp_path / "clips.csv", dtype=str, keep_default_na=False)
    assert table["video_id"].tolist() == ids and table["clip_id"].tolist() == [f"{i}$_${i}" for i in ids]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030"])
def test_encodings_and_line_ends(tmp_path, encoding, line_end):
    table = HEADER + 'v,1,"我很高兴, 真的",1,1,1,1,Positive,test\nv,2,好,0,,,,Neutral,train\n'
    found = read(tmp_path, table.replace("\n", line_end), encoding)
    assert [clip.text for clip in found.clips] == ["我很高兴, 真的", "好"] and not found.refused
    assert (found.clips[0].label_V, found.clips[1].split) == (1, "train")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("it\u2019s fine", "cp1252"), ("“well”", "cp1252"), ("très bien, ça va", "latin-1"), ("很好", "utf-16")],
)
def test_other_encodings_are_refused_not_garbled(tmp_path, text, encoding):
    with pytest.raises(manifest.ManifestError, match=r"label\.csv is neither UTF-8 \(byte 0x.* GBK; save it"):
        read(tmp_path, HEADER + f'v,1,"{text}",1,1,1,1,Positive,test\n', encoding)


def test_the_annotation_may_be_spelled_anyhow_or_be_absent(tmp_path):
    spellings = ["Positive", "positive", "POS", "Weakly Positive", "积极", "1", ""]
    rows = "".join(f"v,{i},fine,0.2,,,,{spelling},train\n" for i, spelling in enumerate(spellings))
    assert len(read(tmp_path, HEADER + rows).clips) == len(spellings)


def test_spaces_around_fields_and_empty_rows_do_not_count(tmp_path):
    header = "video_id ,clip_id ,text ,label ,label_T ,label_A ,label_V ,annotation ,mode\n"
    found = read(tmp_path, header + "v ,0001 ,fine ,0.2 , , , ,Neutral , Train\n,,,,,,,,\n\n")
    assert [(c.clip_id, c.text, c.split) for c in found.clips] == [("v$_$0001", "fine", "train")]
    assert math.isnan(found.clips[0].label_T) and not found.refused


def test_unimodal_labels_may_be_absent(tmp_path):
    [clip] = read(
        tmp_path, "video_id,clip_id,text,label,mode\nv,1,fine,-2.4,valid\n", label_range=(-3, 3)
    ).clips
    assert (
        clip.label == -2.4
        and math.isnan(clip.label_T)
        and math.isnan(clip.label_A)
        and math.isnan(clip.label_V)
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("v,1,again,0,0,0,0,Neutral,train\n", "duplicate id"),
        ("v,2,x,1.2,0,0,0,Positive,train\n", r"label 1\.2 is outside \[-1, 1\]"),
        ("v,2,x,1,0,-3,0,Positive,train\n", r"label_A -3 is outside"),
        ("v,2,x,nan,0,0,0,Positive,train\n", "label nan is outside"),
        ("v,2,x,much,0,0,0,Positive,train\n", "label 'much' is no number"),
        ("v,2,x,1,0,0,0,Positive,extra\n", "unknown split 'extra'"),
        ("v,2,  ,1,0,0,0,Positive,train\n", "empty transcript"),
        ("v,2,a\0b,1,0,0,0,Positive,train\n", "NUL"),
        ("../v,2,x,1,0,0,0,Positive,train\n", "no plain file name"),
        ("v,/etc/passwd,x,1,0,0,0,Positive,train\n", "no plain file name"),
        ("v,{clip},x,1,0,0,0,Positive,train\n", "no plain file name"),
        ("..,2,x,1,0,0,0,Positive,train\n", r"video_id '\.\.' is no plain file name"),
        (r"v,C:\2,x,1,0,0,0,Positive,train" + "\n", "no plain file name"),
        ("v,a\u2028b,x,1,0,0,0,Positive,train\n", "no plain file name"),
        (",2,x,1,0,0,0,Positive,train\n", "video_id '' is no plain file name"),
        (f"v,{'二' * 90},x,1,0,0,0,Positive,train\n", "has 270 bytes"),
        ("v$_$w,2,x,1,0,0,0,Positive,train\n", "runs into"),
        ("v$_,2,x,1,0,0,0,Positive,train\n", "runs into"),
        ("v,2,a, b,1,0,0,0,Positive,train\n", "more than the header"),
        ("v,2\n", "unknown split ''"),
    ],
)
def test_rows_that_cannot_be_used_are_listed(tmp_path, row, expected):
    assert re.search(expected, reason(tmp_path, row))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", r"lacks the columns .*; found nothing"),
        ("video_id,text,label\nv,x,1\n", "lacks the columns clip_id, mode; found video_id, text, label"),
        ("v,1,fine,0,0,0,0,Neutral,train\n", "found v, 1, fine.* first line must name the columns"),
        (HEADER.replace(",", ";"), "has semicolons between its columns; expected commas.*'video_id;clip_id;"),
        (HEADER.replace(",", "\t"), "has tabs between its columns; expected commas"),
        (HEADER.replace("label_T", "label"), "has the column label 2 times"),
        (HEADER, "no rows"),
        (HEADER + 'v,1,"he said ""no""",0,,,,N,train\nv,2,"never closed,0,,,,N,train\nv,3,x,0,,,,N,train\n',
         "row that begins on line 3 is no CSV .*quote"),
        (HEADER + 'v,1,"a" b,0,,,,N,train\n', "row that begins on line 2 is no CSV"),
        (HEADER + f"v,1,{'x' * 200_000},0,,,,N,train\n", "row that begins on line 2 .*limit"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used_stop(tmp_path, table, expected):
    with pytest.raises(manifest.ManifestError, match=rf"label\.csv.*{expected}"):
        read(tmp_path, table)


def test_meta_csv_will_do(tmp_path):
    assert manifest.label_file(tmp_path) is None
    (tmp_path / "meta.csv").touch()
    assert manifest.label_file(tmp_path).name == "meta.csv"
    (tmp_path / "label.csv").touch()
    assert manifest.label_file(tmp_path).name == "label.csv"


@pytest.mark.parametrize(
    ("link", "there"), [("1.mp4", True), ("1.mp4", False), ("1.MKV", True), (".", True), (".", False)]
)
def test_links_out_of_the_root_are_refused(tmp_path, link, there):
    """A video, or the folder of videos, that is a link to what lies elsewhere, or lay there once."""
    outside, folder = tmp_path / "secret", tmp_path / "data" / "Raw" / "v"
    (folder if link != "." else folder.parent).mkdir(parents=True)
    (folder / link).symlink_to(outside) if link != "." else folder.symlink_to(outside)
    if there and link == ".":
        outside.mkdir()
        (outside / "1.mp4").touch()
    elif there:
        outside.touch()
    with pytest.raises(manifest.ManifestError, match=r"leads out of .*secret.* copy the video in"):
        manifest.video_path(tmp_path / "data", "v$_$1")


def test_links_within_the_root_and_a_root_that_is_a_link_are_fine(tmp_path):
    (tmp_path / "disk" / "Raw" / "v").mkdir(parents=True)
    (tmp_path / "disk" / "Raw" / "v" / "1.mp4").touch()
    (tmp_path / "disk" / "Raw" / "v" / "2.mp4").symlink_to("1.mp4")
    (tmp_path / "disk" / "Raw" / "v" / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    for name in ("1", "2", "loop", "missing"):
        assert manifest.video_path(tmp_path / "data", f"v$_${name}") == str(
            tmp_path / f"data/Raw/v/{name}.mp4"
        )


@pytest.mark.parametrize("root", ["data", "./data", ".//data", "data/", "data/."])
def test_one_root_in_other_words_is_the_same_path(tmp_path, monkeypatch, root):
    """Paths are names of workflow files, which a ./ more would make other files."""
    monkeypatch.chdir(tmp_path)
    assert manifest.video_path(root, "v$_$1") == "data/Raw/v/1.mp4"


@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".avi", ".mov", ".webm"])
def test_other_extensions_are_found_in_either_case(tmp_path, extension):
    (tmp_path / "Raw" / "v").mkdir(parents=True)
    for clip, spelling in {"1.2": extension, "NA": extension.upper()}.items():
        (tmp_path / "Raw" / "v" / f"{clip}{spelling}").touch()
        assert manifest.video_path(tmp_path, f"v$_${clip}") == str(tmp_path / f"Raw/v/{clip}{spelling}")
    assert manifest.video_path(tmp_path, "v$_$2") == str(tmp_path / "Raw/v/2.mp4")


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
        (tmp_path / "clips.csv").read_text()
        == 'clip_id,video_id,text,split,label,label_T,label_A,label_V\nv$_$1,v,"a, b",train,0.2,,,\n'
    )
    assert (
        (tmp_path / "refused.csv").read_text().startswith("clip_id,stage,reason\nv$_$1,manifest,duplicate id")
    )


def test_a_refused_id_with_line_breaks_is_one_row_of_the_list(tmp_path):
    found = read(tmp_path, HEADER + 'v,"1\r\n2\0",fine,0,,,,Neutral,train\nv,3,fine,0,,,,Neutral,train\n')
    manifest.write(found, tmp_path / "clips.csv", tmp_path / "refused.csv")
    assert quarantine.read(tmp_path / "refused.csv")["clip_id"].tolist() == [r"v$_$1\r\n2\x00"]


WITH_PATHS = "video_id,clip_id,text,label,mode,path,start,end\n"


def test_videos_may_lie_anywhere_in_the_folder_and_clips_be_parts_of_them(tmp_path):
    rows = "v,1,fine,0,train,talks/a b.mov,1.5,4\nv,2,fine,0,train,talks/a b.mov,4,\nv,3,fine,0,train,,,\n"
    found = read(tmp_path, WITH_PATHS + rows)
    assert not found.refused
    assert [(clip.start, clip.end, clip.cut) for clip in found.clips] == [
        (1.5, 4, True),
        (4, math.inf, True),
        (0, math.inf, False),
    ]
    places = [manifest.recording(tmp_path, clip) for clip in found.clips]
    assert places == [str(tmp_path / "talks/a b.mov")] * 2 + [str(tmp_path / "Raw/v/3.mp4")]
    manifest.write(found, tmp_path / "clips.csv", tmp_path / "refused.csv")
    table = pd.read_csv(tmp_path / "clips.csv", dtype=str, keep_default_na=False)
    assert table[["path", "start", "end"]].values.tolist() == [
        ["talks/a b.mov", "1.5", "4.0"],
        ["talks/a b.mov", "4.0", ""],
        ["", "0.0", ""],
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("v,2,fine,0,train,../a.mp4,,", "is no path within the data set's folder"),
        ("v,2,fine,0,train,/etc/a.mp4,,", "is no path within the data set's folder"),
        ("v,2,fine,0,train,{a}.mp4,,", "is no path within the data set's folder"),
        ("v,2,fine,0,train,,soon,", "is no number of seconds"),
        ("v,2,fine,0,train,,3,2", "are no part of a recording"),
        ("v,2,fine,0,train,,-1,2", "are no part of a recording"),
        ("v,2,fine,0,train,,nan,2", "are no part of a recording"),
    ],
)
def test_paths_and_parts_that_are_none(tmp_path, row, told):
    found = read(tmp_path, f"{WITH_PATHS}v,1,fine,0,train,,,\n{row}\n")
    assert [why for _, _, why in found.refused] == [found.refused[0][2]] and told in found.refused[0][2]


def test_a_path_that_is_a_link_out_of_the_folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.mp4").touch()
    (tmp_path / "data/a.mp4").symlink_to(tmp_path / "secret.mp4")
    [clip] = read(tmp_path, WITH_PATHS + "v,1,fine,0,train,a.mp4,,\n").clips
    with pytest.raises(manifest.ManifestError, match="leads out of"):
        manifest.recording(tmp_path / "data", clip)


def test_without_transcripts_the_way_out_is_told_and_taken(tmp_path):
    table = "video_id,clip_id,label,mode\nv,1,0,train\n"
    with pytest.raises(manifest.ManifestError, match=r"lacks the column text.*transcribe"):
        read(tmp_path, table)
    [clip] = manifest.read(tmp_path / "label.csv", manifest.Rules((-1, 1), transcribed=True)).clips
    assert clip.text == ""


# emotions by name, folds

SPELLINGS = {"happy": "happy", "sad": "sad", "exc": "happy", "xxx": None}
EMOTIONS = manifest.Rules(spellings=SPELLINGS)


def named(tmp_path, *rows, header="video_id,clip_id,text,label,mode", rules=EMOTIONS):
    (tmp_path / "label.csv").write_text("\n".join([header, *rows]))
    return manifest.read(tmp_path / "label.csv", rules)


def test_labels_are_names_as_the_config_spells_them(tmp_path):
    rows = [
        f"v,{i},hello,{label},train" for i, label in enumerate(["happy", " Sad ", "EXC", "xxx", "fru", ""])
    ]
    found = named(tmp_path, *rows)
    assert [clip.label for clip in found.clips] == ["happy", "sad", "happy"]
    assert [clip.label_T for clip in found.clips] == [""] * 3
    assert [row[1:] for row in found.refused] == [
        ("left_out", "label 'xxx' is left out by the config"),
        ("manifest", "label 'fru' is no class; there are happy, sad"),
        ("manifest", "label '' is no class; there are happy, sad"),
    ]


def test_a_unimodal_label_that_is_left_out_is_none(tmp_path):
    [clip] = named(
        tmp_path, "v,1,hello,sad,dev,exc,xxx", header="video_id,clip_id,text,label,mode,label_T,label_A"
    ).clips
    assert (clip.label, clip.label_T, clip.label_A, clip.label_V) == ("sad", "happy", "", "")
    assert clip.split == "valid"


def test_without_modes_there_are_folds(tmp_path):
    rules = manifest.Rules(spellings=SPELLINGS, by="speaker", folds=3)
    rows = [f"v{i},1,hello,sad,{who}" for i, who in enumerate("aabbcd")] + ["w,1,hello,sad, "]
    found = named(tmp_path, *rows, header="video_id,clip_id,text,label,speaker", rules=rules)
    splits = {clip.video_id: clip.split for clip in found.clips}
    assert splits["v0"] == splits["v1"] != splits["v2"] == splits["v3"] and len(set(splits.values())) == 3
    assert found.refused == [("w$_$1", "manifest", "speaker is empty: it says whose clips stay together")]


@pytest.mark.parametrize(
    ("header", "rules", "told"),
    [
        ("video_id,clip_id,text,label", EMOTIONS, "lacks the column mode.*split: {by: speaker, folds: 5}"),
        ("video_id,clip_id,text,label", manifest.Rules((-1, 1), by="actor"), "lacks the column actor"),
        ("video_id,clip_id,text,label,actor", manifest.Rules(spellings=SPELLINGS, by="actor"),
         "by its column actor: 1 groups make no 1 folds"),
    ],
)  # fmt: skip
def test_what_can_not_be_divided(tmp_path, header, rules, told):
    with pytest.raises(manifest.ManifestError, match=told):
        named(tmp_path, "v,1,hello,sad,x", header=header, rules=rules)
