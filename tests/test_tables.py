"""Tables as people and their spreadsheets write them: what can be read is read, the rest is refused by its line."""

import os

import pytest

from aevis_dash.domain import AevisError
from aevis_dash.tables import read_table, write_table

ROWS = [{"file": "a b.png", "label": "0"}, {"file": "c.png", "label": "grey fox, old"}]
PLAIN = 'file,label\na b.png,0\nc.png,"grey fox, old"\n'


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        b"file;label\na b.png;0\nc.png;grey fox, old\n",
        b"file\tlabel\na b.png\t0\nc.png\tgrey fox, old\n",
        b"file|label\na b.png|0\nc.png|grey fox, old\n",
        b'file, label\na b.png, 0\nc.png, "grey fox, old"\n',
        b'file,label\na b.png, 0\nc.png, "grey fox, old"\n',
        b'File,LABEL\na b.png,0\nc.png,"grey fox, old"\n',
        b"sep=,\n" + PLAIN.encode(),
        b'"sep=;"\r\nfile;label\r\na b.png;0\r\nc.png;grey fox, old\r\n',
        b"SEP=\t\nfile\tlabel\na b.png\t0\nc.png\tgrey fox, old\n",
        b'file,label,,\na b.png,0,,\n\n,,,\nc.png,"grey fox, old",,\n',
        b'\n"file","label"\n"a b.png","0"\n"c.png","grey fox, old"\n',
    ],
)
def test_however_it_is_written_the_table_is_the_same(tmp_path, data):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    for columns, known in ((("file", "label"), ()), ((), ("file", "image", "label"))):
        assert [row for _, row in read_table(path, columns, known).rows] == ROWS


@pytest.mark.parametrize("head", ["#file,label", "# file, label", "# made by hand\n# on a, day, in May\nfile,label"])
def test_comments_in_a_table_of_somebody_elses_are_none_of_its_rows(tmp_path, head):
    path = tmp_path / "t.csv"
    path.write_text(f"{head}\na b.png,0\n# the rest, as it was, is old\n#\n# told\n#1.png,2\nc.png,1\n")
    rows = read_table(path, (), ("file", "label")).rows
    assert [(row["file"], row["label"]) for _, row in rows] == [("a b.png", "0"), ("#1.png", "2"), ("c.png", "1")]
    assert rows[-1][0] == path.read_text().count("\n"), "lines are counted as they stand in the file"


def test_a_row_of_our_own_table_is_never_a_comment(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, ("file", "label"), [{"file": "#1.png", "label": ""}])
    assert [row["file"] for _, row in read_table(path, ("file", "label")).rows] == ["#1.png"]


def test_semicolons_do_not_win_where_the_header_says_commas(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("file,label,a;b;c;d\nx.png,1,;;;\n")
    assert read_table(path, ("file", "label")).rows[0][1] == {"file": "x.png", "label": "1", "a;b;c;d": ";;;"}


@pytest.mark.parametrize("text", ["a", " a", "a ", 'a"b', "a,b", "a;b", "a\tb", "ä\u00a0", "", '"', "-1", "="])
def test_what_is_written_is_read_again(tmp_path, text):
    path = tmp_path / "t.csv"
    rows = [{"id": "x", "note": text, "more": ""}, {"id": "y", "note": "", "more": text}]
    write_table(path, ("id", "note", "more"), [rows[0] | {"more": None}, rows[1]])
    assert [row for _, row in read_table(path, ("id",)).rows] == rows


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"has no column 'file'"),
        (b"\0\0\0\0", "holds a NUL|no column"),
        (b"file,label\nx\0.png,1\n", "line 2 holds a NUL character"),
        (b"file,label\ncaf\xe9.png,1\n", r"cannot be read .*must be a CSV file in UTF-8"),
        (b"file,label\nx\x1b[2J.png,1\n", "line 2 holds a control character"),
        (b'file,label\n"x\r\ny.png",1\n', "line 3 holds a control character"),
        (b'file,label\n"x.png,1\ny.png,0\n', "unexpected end of data"),
        (b"file,label\nx,y.png,1\n", "line 2 has more values than columns"),
        (b"file,label,label\nx.png,1,2\n", "two columns 'label'"),
        (b"file,label\n" + b"x" * 200_000 + b",1\n", "field larger than field limit"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_line(tmp_path, data, words):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(AevisError, match=words):
        read_table(path, ("file", "label"))


@pytest.mark.parametrize("text", ['{"one.png": "cat"}', '[{"file": "a", "label": 1}]', '{"file": 1}\n{"file": 2}'])
def test_json_is_no_table_of_somebody_elses(tmp_path, text):
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(AevisError, match=r"labels.json is JSON and no table. Save it as a table of comma-separated"):
        read_table(path, (), ("file", "label"))


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo.csv")
    for path in (tmp_path / "fifo.csv", tmp_path):
        with pytest.raises(AevisError, match="it is no regular file"):
            read_table(path, ())
