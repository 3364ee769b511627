from __future__ import annotations

import json
import re
import time
from contextlib import suppress

import pandas
import pytest
from hypothesis import given, strategies as st

from pycam import zoo
from pycam.errors import FormatError, UsageError
from pycam.model import load_model
from pycam.zoo.label_files import read_labels
from pycam.zoo.labels import Labels

ILSVRC = read_labels(zoo.models_folder() / "labels" / "ilsvrc.tsv")
PLACES = read_labels(zoo.models_folder() / "labels" / "places205.tsv")


@pytest.fixture
def label_file(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / "labels.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_bundled_lists_are_complete_and_in_the_order_of_the_outputs():
    assert len(ILSVRC) == 1000
    assert list(ILSVRC.wnids) == sorted(set(ILSVRC.wnids))
    assert len(PLACES) == len(set(PLACES.names)) == 205
    assert PLACES.wnids is None and PLACES.wnid(0) is None
    assert (ILSVRC.wnid(277), ILSVRC.label(277)) == ("n02119022", "red fox, Vulpes vulpes")


@pytest.mark.shared
def test_bundled_lists_are_the_published_ones(shared):
    published = (shared / "facts" / "ilsvrc-classes.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[2:] for line in published] == [
        [wnid, label] for wnid, label in zip(ILSVRC.wnids, ILSVRC.names, strict=True)
    ]
    places = (shared / "facts" / "places205-classes.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[1] for line in places] == list(PLACES.names)


@pytest.mark.parametrize(
    "query",
    [
        277,
        "277",
        " 277 ",
        "n02119022",
        "N02119022",
        "red fox",
        "Red Fox",
        "red_fox",
        "red fox, Vulpes vulpes",
    ],
)
def test_a_class_is_found_by_each_of_its_names(query):
    assert ILSVRC.find(query) == 277


def test_every_class_is_found_by_index_and_wordnet_id():
    for index in range(1000):
        assert ILSVRC.find(str(index)) == ILSVRC.find(ILSVRC.wnid(index)) == index


@pytest.mark.parametrize("query", ["/a/airport_terminal", "airport terminal", "airport_terminal", "Airport Terminal"])
def test_places_are_found_without_their_letter(query):
    assert PLACES.names[PLACES.find(query)] == "/a/airport_terminal"
    assert PLACES.names[PLACES.find("church/outdoor")] == "/c/church/outdoor"


def test_an_ambiguous_name_lists_the_classes():
    with pytest.raises(UsageError, match="'crane' is the name of several classes; give an index: 134 crane; 517 crane"):
        ILSVRC.find("crane")


@pytest.mark.parametrize(
    ("query", "offered"),
    [("red fx", "277 red fox"), ("fox", "277 red fox.*278 kit fox"), ("n02119021", "277 red fox")],
)
def test_a_wrong_name_offers_the_nearest(query, offered):
    with pytest.raises(UsageError, match=f"no class is called '{query}' in .*ilsvrc.tsv; similar: .*{offered}"):
        ILSVRC.find(query)


@pytest.mark.parametrize("query", ["", "zzzzqqq", "  "])
def test_a_name_near_to_none_offers_nothing(query):
    with pytest.raises(UsageError, match=r"no class is called .* in .*\.tsv$"):
        ILSVRC.find(query)


@pytest.mark.parametrize("query", [-1, 1000, "1000", "-1"])
def test_an_index_outside_is_refused(query):
    with pytest.raises(UsageError, match=rf"no class {query}: .* are 0 to 999"):
        ILSVRC.find(query)


def test_digits_are_an_index_before_they_are_a_label():
    digits = Labels(("7", "1", "0"))
    assert [digits.find(str(index)) for index in range(3)] == [0, 1, 2]


def test_one_line_per_class(label_file):
    read = read_labels(label_file("cell\r\nno cell\r\n\n"))
    assert read.names == ("cell", "no cell") and read.wnids is None


def test_wordnet_ids_and_labels(label_file):
    read = read_labels(label_file("n01443537 goldfish, Carassius auratus\nn01440764 tench, Tinca tinca\n"))
    assert read.names == ("goldfish, Carassius auratus", "tench, Tinca tinca")
    assert read.wnids == ("n01443537", "n01440764")
    assert read.find("tinca TINCA") == 1


def test_wordnet_ids_alone(label_file):
    assert read_labels(label_file("n01443537\nn01440764\n")).names == ("n01443537", "n01440764")


@pytest.mark.parametrize(
    "content",
    [
        "0 applauding\n1 cutting trees\n2 fishing\n",
        '2 fishing\n0 "applauding"\n1 "cutting trees"\n',
        "\ufeff0\tapplauding\n1\tcutting trees\n2\tfishing",
    ],
)
def test_a_csv_of_index_and_name(label_file, content):
    assert read_labels(label_file(content)).names == ("applauding", "cutting trees", "fishing")


def test_a_csv_reads_as_pandas_reads_it(label_file):
    path = label_file('1 "cutting trees"\n0 applauding\n2 fishing\n')
    frame = pandas.read_csv(path, sep=" ", header=None, names=["index", "name"]).sort_values("index")
    assert read_labels(path).names == tuple(frame["name"])


def test_the_published_list_of_places(label_file):
    assert read_labels(label_file("/a/abbey 1\n/a/alley 0\n")).names == ("/a/alley", "/a/abbey")


def test_names_that_end_in_numbers_are_no_indices(label_file):
    assert read_labels(label_file("cell 1\ncell 0\n")).names == ("cell 1", "cell 0")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "found an empty file"),
        (" \n\n", "found only blank lines"),
        ("cat\n\ndog", r"labels.txt:2: expected a label, found ''"),
        (b"cat\nd\xe9j\xe0", r"labels.txt:2:2: byte 0xE9 is not UTF-8 text"),
        (b"\x00\x01\x02", r"labels.txt: expected a label list, found unknown binary data"),
        ("cat\nd\x1b[31mog", r"labels.txt:2: expected a label"),
        ("1 cat\n3 dog", "expected each index from 1 to 2 once, found '3' for the label 'dog', and no label for 2"),
        (f"0 cat\n{'9' * 5000} dog", "found '9{40}' for the label 'dog'"),
        ("0 cat\n0 dog", "expected each index from 0 to 1 once, found '0' for the label 'dog'"),
        ("index\tname\n0\tcat\n1", r"labels.txt:3: expected 2 columns, found 1"),
        ("index\twnid\tlabel\n0\tn01440764\ttench\n5\tn01440765\tother", "found '5' for the label 'other'"),
        ("index\twnid\tlabel\n0\tn01440764\ttench\tx", r"labels.txt:2: expected 3 columns, found 4"),
        ("index\twnid\tlabel\n0\tn01440764\t\n1\tn01440765\tfox", r"labels.txt:2: expected a label, found a blank"),
        ("x" * (4 * 1024 * 1024 + 1), "expected a label list, found more than"),
    ],
)
def test_a_wrong_list_is_refused(label_file, content, reason):
    with pytest.raises(FormatError, match=reason) as caught:
        read_labels(label_file(content))
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()


def test_a_missing_list_and_a_folder_are_refused(tmp_path):
    with pytest.raises(FormatError, match=r"none\.txt: expected a label list, but: No such file"):
        read_labels(tmp_path / "none.txt")
    with pytest.raises(FormatError, match="expected a label list, found a folder"):
        read_labels(tmp_path)


@given(st.text(max_size=40))
def test_any_query_gives_an_index_or_a_usage_error(query):
    with suppress(UsageError):
        assert 0 <= PLACES.find(query) < 205


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0,cat\n2,fish\n1,dog\n", ("cat", "dog", "fish")),
        ("cat,0\nfish,2\nwild dog, 1\n", ("cat", "wild dog", "fish")),
        ("0: cat\n2: fish\n1: dog\n", ("cat", "dog", "fish")),
        ("wild dog\t1\ncat\t0\n", ("cat", "wild dog")),
        ("1 cent\n2 cent\n5 cent\n", ("1 cent", "2 cent", "5 cent")),
        ("grade,0\ngrade,1\n", ("grade,0", "grade,1")),
        ("Audi 100\nFiat 500\nBMW 320\n", ("Audi 100", "Fiat 500", "BMW 320")),
        (f"a {'9' * 5000}\nb {'8' * 5000}\n", (f"a {'9' * 5000}", f"b {'8' * 5000}")),
    ],
)
def test_numbers_are_indices_or_parts_of_labels(text, names, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    assert read_labels(path).names == names


@pytest.mark.parametrize("text", ["0 cat\n2 dog\n3 fish\n", "cat,0\ndog,1\nfish,3\n", "0,cat\n1,dog\n1,fish\n"])
def test_indices_with_a_gap_are_refused(text, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match="expected each index from 0 to 2 once, found"):
        read_labels(path)


def test_a_line_of_blanks_takes_no_time(tmp_path):
    path = tmp_path / "labels.txt"
    begin = time.process_time()
    for line in ("a" + " " * 9000 + "b", "a" + "\t" * 9000 + "b", "1 " + "," * 9000 + "b", "1" * 9000 + "a"):
        path.write_text(f"{line}\n" * 400)
        assert read_labels(path).names[0] == line
    path.write_text("a" * 10_001)
    with pytest.raises(FormatError, match=r"labels\.txt:1: a line of 10,001 characters, expected at most 10,000"):
        read_labels(path)
    assert time.process_time() - begin < 5


WORDNET = Labels(("kit fox, Vulpes macrotis", "crane, bird", "crane, machine", "cup"), ("n1", "n2", "n3", "n4"))


@pytest.mark.parametrize(
    ("ours", "others", "expected"),
    [
        (WORDNET, WORDNET, [0, 1, 2, 3]),
        (WORDNET, Labels(("a", "b", "c"), ("n4", "n9", "n1")), [3, -1, 0]),  # IDs count, and not labels
        (WORDNET, Labels(("n4", "Kit_Fox", "mug, cup", "red fox")), [3, 0, 3, -1]),
        (WORDNET, Labels(("crane", "bird", "crane, machine")), [-1, 1, 2]),  # "crane" is two classes here
        (Labels(("crane", "cup")), WORDNET, [-1, -1, -1, 1]),  # and there
        (WORDNET, Labels(("fox, cup, kit fox",)), [-1]),  # synonyms of two classes
        (Labels(("class 0", "class 1")), Labels(("class 0", "class 1")), [0, 1]),
        (Labels(("class 0", "class 1")), Labels(("class 0", "class 1", "class 2")), [-1, -1, -1]),
        (Labels(("class 0", "class 1")), Labels(("cup", "fox")), [-1, -1]),
    ],
)
def test_classes_of_two_lists_are_matched(ours, others, expected):
    assert ours.match(others) == expected


FOX = ("tench, Tinca tinca", "red fox, Vulpes vulpes", 'house "cat"', "it's")
IDS = ("n01440764", "n02119022", "n02123045", "n02123046")


def csv_cell(label: str) -> str:
    return '"' + label.replace('"', '""') + '"'


FORMS = {
    "lines": lambda names: "\n".join(names),
    "index, comma, quotes": lambda names: "".join(f"{i},{csv_cell(n)}\n" for i, n in reversed([*enumerate(names)])),
    "quotes everywhere": lambda names: "".join(f'"{i}",{csv_cell(n)}\r\n' for i, n in enumerate(names)),
    "label, comma, index": lambda names: "".join(f"{csv_cell(n)},{i}\n" for i, n in enumerate(names)),
    "heading": lambda names: "index,name\n" + "".join(f"{i},{csv_cell(n)}\n" for i, n in enumerate(names)),
    "heading, other order": lambda names: "Name;ID\n" + "".join(f"{csv_cell(n)};{i}\n" for i, n in enumerate(names)),
    "heading, blanks": lambda names: "index name\n" + "".join(f"{i} {csv_cell(n)}\n" for i, n in enumerate(names)),
    "label, name": lambda names: "label,name\n" + "".join(f"{i},{csv_cell(n)}\n" for i, n in enumerate(names)),
    "from 1": lambda names: "".join(f"{i}\t{n}\n" for i, n in enumerate(names, 1)),
    "numbered": lambda names: "".join(f"{i}. {n}\n" for i, n in enumerate(names, 1)),
    "colon": lambda names: "".join(f"{i}: {n}\n" for i, n in enumerate(names)),
    "tab, index": lambda names: "".join(f"{n}\t{i}\n" for i, n in enumerate(names)),
    "blank, index": lambda names: "".join(f"{n} {i}\n" for i, n in enumerate(names)),
    "JSON list": lambda names: json.dumps(list(names)),
    "JSON map": lambda names: json.dumps(dict(enumerate(names)), indent=1),
    "JSON map to index": lambda names: json.dumps({n: i for i, n in enumerate(names)}, ensure_ascii=False),
    "JSON objects": lambda names: json.dumps([{"name": n, "id": i} for i, n in enumerate(names, 1)][::-1]),
    "JSON under a key": lambda names: json.dumps({"model": "x", "id2label": dict(enumerate(names))}),
    "Python's dictionary": lambda names: "{" + ",\n ".join(f"{i}: {n!r}" for i, n in enumerate(names)) + "}\n",
    "Python's list": lambda names: repr(list(names)),
}
WITH_IDS = {
    "synset_words.txt": lambda pairs: "\n".join(" ".join(pair) for pair in pairs),
    "tabs": lambda pairs: "\n".join("\t".join(pair) for pair in pairs),
    "index, ID, label": lambda pairs: "".join(f"{i} {w} {n}\n" for i, (w, n) in enumerate(pairs)),
    "heading": lambda pairs: "wnid,label\n" + "".join(f"{w},{csv_cell(n)}\n" for w, n in pairs),
    "Keras": lambda pairs: json.dumps({str(i): pair for i, pair in enumerate(pairs)}),
    "JSON pairs": lambda pairs: json.dumps(pairs),
    "JSON, IDs as keys": lambda pairs: json.dumps(dict(pairs)),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_meaning_in_every_form(form, label_file):
    read = read_labels(label_file(FORMS[form](FOX)))
    assert read.names == FOX and read.wnids is None
    assert bool(read.notes) == (form in NOTED)
    assert all("output 0 is 'tench, Tinca tinca'" in note and "from" in note for note in read.notes)


NOTED = {"index, comma, quotes", "quotes everywhere", "label, comma, index", "from 1", "numbered", "colon"}
NOTED |= {"tab, index", "blank, index", "JSON objects"}


@pytest.mark.parametrize("form", WITH_IDS)
def test_wordnet_ids_in_every_form(form, label_file):
    read = read_labels(label_file(WITH_IDS[form](list(zip(IDS, FOX, strict=True)))))
    assert (read.names, read.wnids) == (FOX, IDS)


# No label that is quoted, or that begins or ends in a separator: a form without quotes cannot tell it from another.
WORDS = st.text(st.characters(categories=["L", "Nd"]) | st.sampled_from(" -'(,"), min_size=1, max_size=12).filter(
    lambda text: re.search(r"\w", text) and text == text.strip(" -'(,") and not text[-1].isdigit()
)


@given(st.lists(WORDS, min_size=3, max_size=12, unique=True), st.sampled_from(sorted({*FORMS} - {"lines"})))
def test_any_labels_come_back(tmp_path_factory, names, form):
    path = tmp_path_factory.getbasetemp() / "labels.txt"
    path.write_text(FORMS[form](names), "utf-8", newline="")
    assert read_labels(path).names == tuple(names)


@pytest.mark.parametrize(
    "names",
    [
        ("101 dalmatians", "3 wheeler", "cat", "7up"),
        ("Audi 100", "Boeing 707-320", "cat", "A300B4"),
        tuple("0123456789"),
        ("1", "2", "3"),
        ("2-door", "4-door", "0.5 mm"),
        ("[background]", "cat"),
        ("한국어", "中文", "Ελληνικά", "می\u200cخواهم"),
    ],
)
def test_numbers_in_names_stay(names, label_file):
    for end in ("\n", "\r\n"):
        assert read_labels(label_file("\ufeff" + end.join(names) + end)).names == names


def test_repeated_labels_have_indices_of_their_own(label_file):
    content = "".join(f"{index},{label.split(',')[0]}\n" for index, label in enumerate(ILSVRC.names))
    assert read_labels(label_file(content)).names == tuple(label.split(",")[0] for label in ILSVRC.names)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("0 cat\n1 dog\nfish\n", r"labels\.txt:3: expected an index and a label, as on the other lines, found 'fish'"),
        ("n01440764 tench\nn02119022 fox\ncat\n", r"labels\.txt:3: expected a WordNet ID and a label, .* found 'cat'"),
        ("index,name\n0,cat\n1,dog, wild\n", r"labels\.txt:3: expected 2 columns, found 3: put quotes around"),
        ("index,name\n", r"labels\.txt:1: expected rows with labels below the heading"),
        ("index,name\n0,cat\nx,dog\n", r"labels\.txt:3: expected each index from 0 to 1 once, found 'x'"),
        ("wnid,name\nn01440764,cat\nx,dog\n", r"labels\.txt:3: expected a WordNet ID, as in n01440764, found 'x'"),
        (
            "Pier 1\nGate 2\nHall 9\n",
            r"labels\.txt:3: .* found '9' for the label 'Hall', and no label for 3; if the numbers",
        ),
        ('["cat", 3]', r"labels\.txt: item 1: expected a label, or a WordNet ID and a label, found 3"),
        (
            '{"0": "cat", "2": "dog"}',
            r"item 2: expected each index from 0 to 1 once, found '2' for the label 'dog', and no label for 1",
        ),
        ('{"0": "cat", "0": "dog"}', r"'0' is there twice"),
        ('{"cat": 0, "dog": 0}', r"item 0: expected each index from 0 to 1 once, found '0' for the label 'dog'"),
        (
            '{\n"0": "cat",\n"1": dog\n}',
            r"labels\.txt:3: expected JSON, a list or a map of labels, but: Expecting value",
        ),
        ("{0: 'cat', 1: open('x')}", r"labels\.txt:1: expected JSON"),
        ("[" * 100_000 + "]", r"nested too deep|expected JSON"),
        ("{}", r"expected a list or a map of labels, found {}"),
        ("[{1, 2}]", r"item 0: expected a label, .*, found {1, 2}"),
        ("[{('a', 'b'): 3}]", r"item 0: expected a label, .*, found {\('a', 'b'\): 3}"),
        ('{"a": {"b": 1}}', r"item a: expected a label"),
        ("cat\nd\u00f6g\n".encode("utf-16"), r"found UTF-16 text: save it as UTF-8"),
    ],
)
def test_the_first_line_that_does_not_fit_is_named(label_file, content, reason):
    with pytest.raises(FormatError, match=reason) as caught:
        read_labels(label_file(content))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("content", ["5", "1.5", "true", '"tench"', "null"])
def test_json_without_a_list_or_a_map_is_refused(content, tmp_path):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(FormatError, match=r"labels\.json: expected a list or a map of labels, found \w+"):
        read_labels(tmp_path / "labels.json")


def test_the_advice_for_numbers_in_labels_works(label_file):
    lines = ["Pier 1", "Gate 2", "Hall 9"]
    assert read_labels(label_file("".join(f"{i},{line}\n" for i, line in enumerate(lines)))).names == tuple(lines)


def test_how_numbers_were_read_is_said_where_maps_are(label_file):
    model = load_model(zoo.BUNDLED, labels=label_file("".join(f"{i} thing {i:03}a\n" for i in range(1, 102))))
    assert any(
        "labels.txt: the numbers are indices, from 1: the net's output 0 is 'thing 001a'" in n for n in model.notes()
    )
