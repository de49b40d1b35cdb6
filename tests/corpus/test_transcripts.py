from cmc.corpus import transcripts


def test_what_people_corrected_stays(tmp_path):
    path = tmp_path / "transcripts.csv"
    assert transcripts.corrected(path) == {}
    transcripts.write(path, {"v$_$0001": "I here you", "v$_$0002": 'fine, "really"', "v$_$3": ""}, {})
    assert transcripts.read(path) == {"v$_$0001": "I here you", "v$_$0002": 'fine, "really"', "v$_$3": ""}
    assert transcripts.corrected(path) == {}
    path.write_text(path.read_text().replace("I here you", "I hear you"))
    assert transcripts.corrected(path) == {"v$_$0001": "I hear you"}
    # made anew, by another model, twice
    for made in ("Eye here", "I hear"):
        transcripts.write(path, {"v$_$0001": made, "v$_$0002": "other"}, transcripts.corrected(path))
        assert transcripts.read(path) == {"v$_$0001": "I hear you", "v$_$0002": "other"}


def test_a_spreadsheet_may_have_saved_it(tmp_path):
    path = tmp_path / "transcripts.csv"
    path.write_text("\ufeffclip_id,text,checksum\r\n0001,火车  九点开,abc\r\n", encoding="utf-8")
    assert transcripts.read(path) == {"0001": "火车 九点开"}
