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


def test_a_mean_image_may_be_its_file_name(read, tmp_path):
    image = read(f"{SMALLEST}mean: {{image: mine.npy}}").mean.image
    assert (image.file, image.folder) == ("mine.npy", tmp_path)


def test_scale_and_std_are_numbers_lists_or_fractions(read):
    card = read(f"{SMALLEST}mean: {{value: 127.5}}\ninput_scale: 1/255\nstd: [57.4, 57.1, 58.4]\ninput_size: [32, 48]")
    assert (card.mean, card.input_scale, card.std) == (Mean((127.5,)), 1 / 255, (57.4, 57.1, 58.4))
    assert card.input_size == (32, 48)
    assert read(f"{SMALLEST}std: 2\ninput_scale: 0.017").std == (2.0,)
    assert (read(SMALLEST).input_scale, read(SMALLEST).std) == (1.0, None)
    assert read(f"{SMALLEST}input_size: 224").input_size == (224, 224)


def test_a_mean_by_name_is_the_bundled_one(read):
    assert read(f"{SMALLEST}mean: ilsvrc-2012").mean.value == zoo.bvlc_mean().value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "found an empty file"),
        ("- a\n- b\n", r"my-card.yaml: Expected `object`, got `array`"),
        ("<html><body>Log in</body></html>", r"my-card.yaml: Expected `object`, got `str`"),
        ("name: [a\n", r"my-card.yaml:2: expected a model card in YAML, but: "),
        ("name: mine\n\tb: c\n", r"my-card.yaml:2: expected a model card in YAML"),
        (b"name: \xff\xfe\n", "expected a model card in YAML"),
        (b"\x00\x01\x02", "expected a model card in YAML"),
        ("[" * 5000, "nested too deeply"),
        ("a" * 70000, "found more than 65,536 bytes"),
        ("name: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
        (
            f"{SMALLEST}colour: red\n",
            "my-card.yaml: Object contains unknown field `colour`",
        ),
        (f"{SMALLEST}path: /etc\n", "my-card.yaml: path: Expected `Path`, got `str`"),
        (f"{SMALLEST}name: again\n", r"my-card.yaml:1: .*duplicate key"),
        ("name: mine\nweights: a.caffemodel\n", "my-card.yaml: Object missing required field `prototxt`"),
        (
            SMALLEST.replace("mine\n", "1.0\n", 1),
            r"name: Expected `str`, got `float` \(write quotes around a text\)",
        ),
        (SMALLEST.replace("mine\n", "'a b'\n", 1), "name: Expected `str` matching regex"),
        (f'{SMALLEST}title: "a\\nb"\n', "my-card.yaml:4: .* a control character or a line break in a text"),
        (f"{SMALLEST}cam: 1\n", "cam: Expected `bool`, got `int`"),
        (f"{SMALLEST}input_size: true\n", r"input_size: Expected `array \| null`, got `bool`"),
        (f"{SMALLEST}input_size: [32]\n", "input_size: Expected `array` of length 2, got 1"),
        (f"{SMALLEST}input_size: 0\n", r"input_size\[0\]: Expected `int` >= 1"),
        (f"{SMALLEST}input_size: {'9' * 4000}\n", r"input_size\[0\]: Expected `int` <= 4096"),
        (f"{SMALLEST}input_size: 0x{'f' * 9000}\n", "my-card.yaml: "),
        (f"{SMALLEST}title: 0x{'f' * 9000}\n", "title: Expected `str`, got `int`"),
        (f"{SMALLEST}aliases: one\n", "aliases: Expected `array`, got `str`"),
        (f"{SMALLEST}aliases: [one, 2]\n", r"aliases\[1\]: Expected `str`, got `int`"),
        (f"{SMALLEST}aliases: &a [*a]\n", r"my-card.yaml:\d+: .*\*a is an alias: write its value here"),
        (f"{SMALLEST}aliases: {'[' * 40}{']' * 40}\n", r"my-card.yaml:\d+: .*nested too deeply"),
        (f"{SMALLEST}input_scale: {'1' + ':1' * 20000}\n", r"my-card.yaml:\d+: .*a number of 40001 characters"),
        (f"{SMALLEST}input_scale: 0x{'f' * 60000}\n", r"my-card.yaml:\d+: .*a number of 60002 characters"),
        (f"{SMALLEST}input_scale: '1e999999999'\n", r"input_scale is inf; expected a finite number above 0"),
        (f"{SMALLEST}mean: bvlc\n", r"mean: no mean is called 'bvlc'; use ilsvrc-2012, or value: \[B, G, R\]"),
        (f"{SMALLEST}mean: ../labels\n", "mean: no mean is called '../labels'"),
        (f"{SMALLEST}mean: {{}}\n", "mean: needs value, image, or both"),
        (f"{SMALLEST}mean: {{value: []}}\n", "mean.value: Expected `array` of length >= 1"),
        (f"{SMALLEST}mean: {{value: [1, two]}}\n", r"mean.value\[1\]: Expected `float`, got `str`"),
        (f"{SMALLEST}input_scale: 0\n", "input_scale is 0.0; expected a finite number above 0"),
        (f"{SMALLEST}input_scale: .inf\n", "input_scale is inf; expected a finite number above 0"),
        (f"{SMALLEST}input_scale: 1/0\n", "input_scale: Expected `float`, got `str`"),
        (f"{SMALLEST}std: [57, 0, 58]\n", "std .* is not finite and above 0"),
        (f"{SMALLEST}std: .nan\n", "std .* is not finite and above 0"),
        (f"{SMALLEST}mean: {{value: [1, 2, .nan]}}\n", "mean: value .* is not finite"),
        (f"{SMALLEST}mean: {{value: [1, 2, {'9' * 400}]}}\n", r"mean\.value\[2\]: Number out of range"),
        (f"{SMALLEST}mean: {{image: {{}}}}\n", "mean.image: Object missing required field `file`"),
        (f"{SMALLEST}class_layer: fc\n", "class_layer needs a feature_blob"),
        (SMALLEST.replace("mine.caffemodel", ".."), "weights: '..' is not a file name"),
        (SMALLEST.replace("mine.caffemodel", "[a]"), "weights: Expected `object`, got `array`"),
        (
            SMALLEST.replace("mine.caffemodel", "{file: a, sha1: abc}"),
            "weights.sha1: Expected `str` matching regex",
        ),
        (
            SMALLEST.replace("mine.caffemodel", "{file: a, solver: s.prototxt, mirrors: ['http://b/a']}"),
            "weights: solver is for weights that were never published: leave out solver, or mirrors",
        ),
        (
            SMALLEST.replace("mine.caffemodel", f"{{file: a, solver: s.prototxt, sha1: {'a' * 40}}}"),
            "weights: solver is for weights that were never published: leave out solver, or sha1",
        ),
        (
            SMALLEST.replace("mine.caffemodel", "{file: a, initial: vgg16}"),
            "weights: initial needs a solver, which trains from these weights",
        ),
        (
            SMALLEST.replace("mine.caffemodel", "{file: a, mirrors: ['ftp://b/a']}"),
            "is not an http or https address",
        ),
        (
            SMALLEST.replace("mine.caffemodel", "{file: a, layer_sha256: {fc: x}}"),
            "weights.layer_sha256.*: Expected `str` matching regex",
        ),
        (
            SMALLEST.replace("mine.caffemodel", "{file: a, layer_sha256: [x]}"),
            "weights.layer_sha256: Expected `object`, got `array`",
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
    with pytest.raises(FormatError, match=r"my-card\.yaml:4: .*<< is not supported"):
        read(f"{SMALLEST}mean: {{<<: {{a: 1}}}}\n")
    with pytest.raises(FormatError, match=r"my-card\.yaml:4: .*nested too deeply"):
        read(f"{SMALLEST}mean: {merged}\n")


def test_shared_references_do_not_explode(read):
    lists = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))
    with pytest.raises(FormatError, match=r"\*a0 is an alias"):
        read(f"{SMALLEST}a0: &a0 [x]\n{lists}\n")
