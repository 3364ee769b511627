from __future__ import annotations

import pytest

from pycam import zoo
from pycam.errors import FormatError
from pycam.zoo.cards import Mean, read_card

MEANS = zoo.models_folder() / "mean"
SMALLEST = "name: mine\nprototxt: mine.prototxt\nweights: mine.caffemodel\n"


@pytest.fixture
def read(tmp_path):
    def reader(content: str | bytes):
        path = tmp_path / "my-card.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_card(path, MEANS)

    return reader


def test_the_smallest_card_leaves_the_rest_to_the_net(read, tmp_path):
    card = read(SMALLEST)
    assert (card.name, card.prototxt, card.weights.file) == ("mine", "mine.prototxt", "mine.caffemodel")
    assert card.path == tmp_path / "my-card.yaml" and card.weights.folder == tmp_path
    assert card.cam and card.labels is card.mean is card.feature_blob is card.class_layer is card.input_size is None


def test_a_full_card(read):
    card = read(
        """
        name: mine
        title: Mine
        aliases: [my-net, ours]
        prototxt: mine.prototxt
        weights:
          file: mine.caffemodel
          aliases: [older.caffemodel]
          mirrors: ["https://example.org/mine.caffemodel"]
          sha1: 405fc5acd08a3bb12de8ee5e23a96bec22f08204
          layer_sha256: {fc: aecdeee164841f8c0d7886f48ee98d6fd4c9791ab9561a415a5603552b2bc02d}
        labels: places205
        mean: {value: [104, 117.5, 123]}
        input_size: 227
        feature_blob: conv
        class_layer: fc
        score_blob: prob
        licence: MIT
        """
    )
    assert card.weights.names == ("mine.caffemodel", "older.caffemodel")
    assert card.weights.checksums == {"sha1": "405fc5acd08a3bb12de8ee5e23a96bec22f08204"}
    assert card.mean == Mean((104.0, 117.5, 123.0)) and (card.feature_blob, card.class_layer) == (
        "conv",
        "fc",
    )


def test_a_mean_by_name_is_the_bundled_one(read):
    assert read(f"{SMALLEST}mean: ilsvrc-2012").mean.value == zoo.bvlc_mean().value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "found an empty file"),
        ("- a\n- b\n", r"my-card.yaml: keys and values expected, a list found"),
        ("<html><body>Log in</body></html>", r"my-card.yaml: keys and values expected, '<html>"),
        ("name: [a\n", r"my-card.yaml:2: expected a model card in YAML, but: "),
        ("name: mine\n\tb: c\n", r"my-card.yaml:2: expected a model card in YAML"),
        (b"name: \xff\xfe\n", "expected a model card in YAML"),
        (b"\x00\x01\x02", "expected a model card in YAML"),
        ("[" * 5000, "nested too deeply"),
        ("a" * 70000, "found more than 65,536 bytes"),
        ("name: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
        (
            f"{SMALLEST}colour: red\n",
            r"my-card.yaml: unknown key 'colour'; there are name, prototxt, weights",
        ),
        (f"{SMALLEST}path: /etc\n", r"unknown key 'path'"),
        (f"{SMALLEST}name: again\n", r"my-card.yaml:1: .*a key is there twice"),
        ("name: mine\nweights: a.caffemodel\n", r"my-card.yaml: the key 'prototxt' is missing"),
        (
            SMALLEST.replace("mine\n", "1.0\n", 1),
            r"name: a text expected, '1.0' found \(put quotes around it\)",
        ),
        (SMALLEST.replace("mine\n", "'a b'\n", 1), "name 'a b' has more than letters"),
        (f'{SMALLEST}title: "a\\nb"\n', "title: a control character or a line break"),
        (f"{SMALLEST}cam: 1\n", "cam: true or false expected, '1' found"),
        (f"{SMALLEST}input_size: true\n", "input_size: a whole number expected, 'True' found"),
        (f"{SMALLEST}input_size: 0\n", "input_size 0 is outside"),
        (f"{SMALLEST}input_size: {'9' * 4000}\n", "is outside 1"),
        (f"{SMALLEST}input_size: 0x{'f' * 9000}\n", "my-card.yaml: "),
        (f"{SMALLEST}title: 0x{'f' * 9000}\n", "title: a text expected, a huge number found"),
        (f"{SMALLEST}aliases: one\n", "aliases: a list expected, 'one' found"),
        (f"{SMALLEST}aliases: [one, 2]\n", r"aliases\[1\]: a text expected, '2' found"),
        (f"{SMALLEST}aliases: &a [*a]\n", r"aliases\[0\]: a text expected, a list found"),
        (f"{SMALLEST}mean: bvlc\n", "mean: 'bvlc' is none of ilsvrc-2012; or give pixel"),
        (f"{SMALLEST}mean: ../labels\n", "mean: '../labels' is none of"),
        (f"{SMALLEST}mean: {{}}\n", "mean: needs pixel, image, or both"),
        (f"{SMALLEST}mean: {{value: [1, 2]}}\n", "mean: value: 3 values expected, 2 found"),
        (f"{SMALLEST}mean: {{value: [1, 2, .nan]}}\n", r"mean: value\[2\]: a number expected, 'nan' found"),
        (f"{SMALLEST}mean: {{value: [1, 2, {'9' * 400}]}}\n", r"a number expected, a huge number found"),
        (f"{SMALLEST}mean: {{image: {{}}}}\n", "mean: image: the key 'file' is missing"),
        (f"{SMALLEST}class_layer: fc\n", "class_layer needs a feature_blob"),
        (SMALLEST.replace("mine.caffemodel", ".."), "weights: file '..' is no file name"),
        (SMALLEST.replace("mine.caffemodel", "[a]"), "weights: keys and values expected, a list found"),
        (
            SMALLEST.replace("mine.caffemodel", "{file: a, sha1: abc}"),
            "weights: sha1: 40 hexadecimal digits exp",
        ),
        (
            SMALLEST.replace("mine.caffemodel", "{file: a, mirrors: ['ftp://b/a']}"),
            "is no http or https address",
        ),
        (
            SMALLEST.replace("mine.caffemodel", "{file: a, layer_sha256: {fc: x}}"),
            "layer_sha256: fc: 64 hexadecimal",
        ),
        (
            SMALLEST.replace("mine.caffemodel", "{file: a, layer_sha256: [x]}"),
            "layer_sha256: keys and values expected",
        ),
    ],
)
def test_a_wrong_card_is_refused_with_file_and_key(read, content, reason):
    with pytest.raises(FormatError, match=reason) as caught:
        read(content)
    assert "my-card.yaml" in str(caught.value) and str(caught.value).isprintable()


def test_merged_mappings_do_not_explode(read):
    merged = "{a: 1}"
    for level in range(40):
        merged = f"{{<<: [&a{level} {merged}, *a{level}]}}"
    with pytest.raises(FormatError, match=r"my-card\.yaml:4: .*<< is not taken, write it out"):
        read(f"{SMALLEST}mean: {merged}\n")


def test_shared_references_do_not_explode(read):
    lists = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))
    with pytest.raises(FormatError, match="unknown key 'a0'"):
        read(f"{SMALLEST}a0: &a0 [x]\n{lists}\n")
