"""Table 5: made-up copies of every layout, their splits, and scores compared with a direct computation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.stats
from runs import write_model

from pycam.cli import main
from pycam.errors import GroundTruthError, PycamError, UsageError
from pycam.paper.datasets import DATA_SETS
from pycam.paper.features import Features
from pycam.paper.table5 import _over_splits, average_precision, paper_rows

CLASSES = ("alpha", "beta", "gamma")


def write_image(path: Path, label: int) -> str:
    """Write a small image whose colour depends on a label, more or less; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([*path.name.encode(), label])
    pixels = np.clip(rng.normal(100, 50, (9, 8, 3)) + 9 * np.eye(3)[label], 0, 255).astype(np.uint8)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return str(path)


def write_lines(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_folders(folder: Path, extra: str = "") -> None:
    for label, name in enumerate(CLASSES):
        for number in range(8 + label):
            write_image(folder / name / f"image_{number}.png", label)
        write_lines(folder / name / "notes.txt", ["no image"])
    if extra:
        write_image(folder / extra / "image_0.png", 0)


def write_lists(folder: Path) -> None:
    write_lines(folder / "labels.txt", CLASSES)
    for part, numbers in (("train", range(5)), ("test", range(5, 8))):
        names = [(f"{CLASSES[label]}/a b {number}.png", label) for label in range(3) for number in numbers]
        for name, label in names:
            write_image(folder / "images" / name, label)
        write_lines(folder / f"{part}.txt", [f"{name} {label}" for name, label in names])


def write_sun397(folder: Path) -> None:
    write_lines(folder / "Partitions" / "ClassName.txt", ["/a/abbey", "/b/bar", "/b/bakery/shop"])
    for partition in (1, 2):
        for part, numbers in (("Training", range(4)), ("Testing", range(4, 7))):
            names = [
                (f"/{name}/sun_{partition * number}.png", label)
                for label, name in enumerate(["a/abbey", "b/bar", "b/bakery/shop"])
                for number in numbers
            ]
            for name, label in names:
                write_image(folder / name[1:], label)
            write_lines(folder / "Partitions" / f"{part}_{partition:02}.txt", [name for name, _ in names])


def write_indoor67(folder: Path) -> None:
    for part, numbers in (("Train", range(5)), ("Test", range(5, 8))):
        names = [(f"{name}/{number}.png", label) for label, name in enumerate(CLASSES) for number in numbers]
        for name, label in names:
            write_image(folder / "Images" / name, label)
        write_lines(folder / f"{part}Images.txt", [name for name, _ in names])


def write_action40(folder: Path) -> None:
    write_lines(folder / "ImageSplits" / "actions.txt", ["action  number", *(f"{name}\t8" for name in CLASSES)])
    for label, action in enumerate(CLASSES):
        for part, numbers in (("train", range(5)), ("test", range(5, 8))):
            names = [f"{action}_{number:03}.png" for number in numbers]
            for name in names:
                write_image(folder / "JPEGImages" / name, label)
            write_lines(folder / "ImageSplits" / f"{action}_{part}.txt", names)


def write_sun_attribute(folder: Path) -> None:
    rng = np.random.default_rng(4)
    names = [f"a/abbey/sun_{number:02}.png" for number in rng.permutation(24)]
    labels = [number % 3 for number in range(24)]
    for name, label in zip(names, labels, strict=True):
        write_image(folder / "images" / name, label)
    shares = np.array([[(label == attribute) * 2 / 3 for attribute in range(2)] for label in labels])
    shares[0] = 1 / 3

    def cells(texts):
        array = np.empty((len(texts), 1), object)
        array[:, 0] = texts
        return array

    scipy.io.savemat(folder / "images.mat", {"images": cells(names)})
    scipy.io.savemat(folder / "attributes.mat", {"attributes": cells(["sailing", "dry"])})
    scipy.io.savemat(folder / "attributeLabels_continuous.mat", {"labels_cv": shares})


WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "sun397": ("SUN397", write_sun397),
    "indoor67": ("indoorCVPR_09", write_indoor67),
    "scene15": ("scene_categories", write_folders),
    "sun-attribute": ("SUNAttributeDB", write_sun_attribute),
    "caltech101": ("caltech-101/101_ObjectCategories", lambda folder: write_folders(folder, "BACKGROUND_Google")),
    "caltech256": ("Caltech256", write_lists),
    "action40": ("Stanford40", write_action40),
    "event8": ("Event8", write_folders),
}
RANDOM = ("scene15", "sun-attribute", "caltech101", "event8")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for name, write in WRITERS.values():
        write(folder / name)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, Path]:
    return write_model(tmp_path_factory.mktemp("tiny"), seed=3)


@pytest.fixture
def mat_in_process(monkeypatch):
    """Read MATLAB's files without a child process, which takes long to start."""

    def read_mat(path, variables):
        found = scipy.io.loadmat(path)
        return {name: found[name] for name in variables}

    monkeypatch.setattr("pycam.paper.datasets.sun_attribute.read_mat", read_mat)


def opened(root: Path, name: str, **choices):
    data_set = DATA_SETS[name]
    folder = data_set.find(root)
    assert folder is not None
    return data_set.open(folder, **({"training": 3} if name in RANDOM else {}), **choices)


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "sun-attribute"])
def test_every_layout_gives_its_images_labels_and_splits(root, name):
    assert DATA_SETS[name].find(root) == root / WRITERS[name][0]
    found = opened(root, name)
    names = ("/a/abbey", "/b/bar", "/b/bakery/shop") if name == "sun397" else CLASSES
    assert found.class_names == tuple(each.strip("/") for each in names)
    for path, label in zip(found.paths, found.labels, strict=True):
        assert found.class_names[label] in path.as_posix()
    assert len(found.splits) == {"sun397": 2}.get(name, 10 if name in RANDOM else 1)
    for split in found.splits:
        assert not set(split.training) & set(split.test)
        assert set(found.labels[split.training]) == set(found.labels[split.test]) == {0, 1, 2}
    assert len(opened(root, name, splits=1).splits) == 1


@pytest.mark.parametrize("name", ["scene15", "caltech101", "event8"])
def test_random_splits_are_permutations_of_sorted_names(root, name):
    found = opened(root, name, splits=2)
    for seed, split in enumerate(found.splits):
        generator = np.random.default_rng(seed)
        parts = [], []
        for each in CLASSES:
            folder = root / WRITERS[name][0] / each
            names = generator.permutation(sorted(path.name for path in folder.glob("*.png")))
            parts[0].extend(folder / image for image in names[:3])
            parts[1].extend(folder / image for image in names[3:])
        assert ([found.paths[row] for row in split.training], [found.paths[row] for row in split.test]) == parts


def test_the_papers_numbers_of_images_bound_a_split(tmp_path):
    for label, name in enumerate(CLASSES):
        for number in range(85):
            write_image(tmp_path / "Caltech101" / name / f"{number:03}.png", label)
    (split,) = DATA_SETS["caltech101"].open(tmp_path / "Caltech101", splits=1).splits
    assert (len(split.training), len(split.test)) == (90, 150)
    (split,) = DATA_SETS["scene15"].open(tmp_path / "Caltech101", splits=1).splits
    assert (len(split.training), len(split.test)) == (150, 105)


def test_attributes_have_splits_of_their_own(root, mat_in_process):
    found = opened(root, "sun-attribute", splits=3)
    folder = root / "SUNAttributeDB"
    shares = scipy.io.loadmat(folder / "attributeLabels_continuous.mat")["labels_cv"]
    assert found.attribute_names == ("sailing", "dry")
    for splits in found.splits:
        for attribute, split in enumerate(splits):
            has = shares[:, attribute] > 0.5
            assert has[split.training].tolist() == [True] * 3 + [False] * 3
            assert (
                has[split.test].sum()
                == (~has[split.test]).sum()
                == min(has.sum(), (shares[:, attribute] == 0).sum()) - 3
            )
            assert not set(split.training) & set(split.test)
            assert 0 not in {*split.training, *split.test}  # an image with one vote
    assert any((a.training != b.training).any() for a, b in zip(*found.splits[:2], strict=True))


@pytest.mark.paper
def test_average_precision_is_scikit_learns():
    from sklearn.metrics import average_precision_score

    for seed in range(20):
        rng = np.random.default_rng(seed)
        is_positive = rng.permutation([True] * 7 + [False] * 12)
        scores = rng.integers(0, 9, 19).astype(float)
        assert average_precision(is_positive, scores) == pytest.approx(average_precision_score(is_positive, scores))


@pytest.fixture(scope="module")
def made(root, tiny, tmp_path_factory):
    """The output of the command on all layouts, with a feature of the tiny net."""
    out = tmp_path_factory.mktemp("table5")
    prototxt, weights = tiny
    command = ["paper", "table5", "--data", str(root), "--prototxt", str(prototxt), "--weights", str(weights)]
    random = ",".join(RANDOM)
    assert main([*command, "--sets", random, "--training", "3", "--splits", "4", "--out", str(out / "random")]) == 0
    others = ",".join(set(WRITERS) - set(RANDOM))
    assert main([*command, "--sets", others, "--blob", "pool", "--out", str(out / "listed")]) == 0
    return out


@pytest.mark.paper
def test_scores_equal_a_plain_computation(made, root, mat_in_process):
    from sklearn.metrics import average_precision_score
    from sklearn.svm import LinearSVC

    def fitted(values, labels):
        norm = np.linalg.norm(values, axis=1).mean()
        machine = LinearSVC(C=1, dual=False, fit_intercept=False, tol=1e-4, max_iter=10000, random_state=0)
        return machine.fit(values / norm, labels), norm

    for name in WRITERS:
        is_random = name in RANDOM
        folder = made / ("random" if is_random else "listed")
        found = opened(root, name, **({"splits": 4} if is_random else {}))
        (path,) = (folder / "features").glob(f"{name}_tiny_*.npz")
        values = Features.load(path).values.astype(np.float64)
        shares, by_class = [], []
        for split in found.splits:
            if name == "sun-attribute":
                precisions = []
                for attribute, part in enumerate(split):
                    labels = found.has_attribute[:, attribute]
                    machine, norm = fitted(values[part.training], labels[part.training])
                    margins = machine.decision_function(values[part.test] / norm)
                    precisions.append(average_precision_score(labels[part.test], margins))
                shares.append(np.mean(precisions))
                continue
            machine, norm = fitted(values[split.training], found.labels[split.training])
            right = machine.predict(values[split.test] / norm) == found.labels[split.test]
            shares.append(right.mean())
            by_class.append(np.mean([right[found.labels[split.test] == label].mean() for label in range(3)]))
        table = pd.read_csv(folder / "table.csv").set_index("data set").loc[DATA_SETS[name].column]
        assert table["value"] == pytest.approx(100 * np.mean(shares))
        cells = json.loads((folder / "paper-table.json").read_text())["cells"]
        (cell,) = (cell for cell in cells if cell["column"] == DATA_SETS[name].column)
        assert cell["row"] == ("conv" if is_random else "pool") + " from tiny"
        assert cell["value"] == table["value"]
        assert cell["images"] == table["test"]
        if len(shares) > 1:
            assert table["deviation"] == pytest.approx(100 * np.std(shares, ddof=1))
            half = scipy.stats.t.ppf(0.975, len(shares) - 1) * scipy.stats.sem(shares)
            assert (cell["low"], cell["high"]) == pytest.approx(
                (100 * max(np.mean(shares) - half, 0), 100 * min(np.mean(shares) + half, 1))
            )
        if by_class:
            assert table["mean over classes"] == pytest.approx(100 * np.mean(by_class))


def test_an_interval_over_splits_ends_where_shares_end():
    assert _over_splits([1.0, 0.9875]).percent == pytest.approx((99.375, 100 * (0.99375 - 12.7062 * 0.00625), 100))
    assert _over_splits([0.0, 0.0125]).low == 0


@pytest.mark.paper
def test_what_is_missing_is_said_and_features_are_used_again(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYCAM_MODELS", raising=False)
    prototxt, weights = tiny
    empty = tmp_path / "sets"
    write_folders(empty / "Event8")
    command = ["paper", "table5", "--data", str(empty), "--prototxt", str(prototxt), "--weights", str(weights)]
    command += ["--training", "4", "--out", str(tmp_path), "--quiet"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("not found; get it from http" in line for line in lines) == 7
    for row in paper_rows():
        assert any(line.startswith(f"{row.name}: ") and f"pycam models download {row.model}" in line for line in lines)
    (path,) = (tmp_path / "features").glob("*.npz")
    before = path.stat().st_mtime_ns, path.read_bytes()
    assert main(command) == 0
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    path.write_bytes(before[1][:1000])
    assert main(command) == 0
    assert path.read_bytes() == before[1]


def test_the_papers_rows_are_three_features():
    assert [(row.model, row.blob) for row in paper_rows()] == [
        ("bvlc-caffenet", "fc7"),
        ("bvlc-googlenet", "pool5/7x7_s1"),
        ("googlenet-cam", "CAM_pool"),
    ]


def damage(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new, 1))

    return change


def save(name: str, **variables) -> Callable[[Path], None]:
    return lambda folder: scipy.io.savemat(folder / name, variables)


@pytest.mark.parametrize(
    ("name", "fault", "message"),
    [
        (
            "sun397",
            damage("Partitions/Training_01.txt", "/a/abbey/", "/a/other/"),
            r"Training_01\.txt:1: class /a/other",
        ),
        ("sun397", damage("Partitions/Testing_02.txt", "sun_8.png", "sun_99.png"), r"Testing_02\.txt:1: no image .*99"),
        (
            "sun397",
            damage("Partitions/Testing_01.txt", "sun_4.png", "sun_1.png"),
            r"Testing_01\.txt:1: .*is already in",
        ),
        ("sun397", lambda folder: (folder / "Partitions/Testing_02.txt").unlink(), r"Testing_02\.txt: no such file"),
        (
            "indoor67",
            damage("TestImages.txt", "alpha/5.png", "5.png"),
            r"TestImages\.txt:1: '5\.png'; expected a class",
        ),
        ("indoor67", damage("TestImages.txt", "alpha/5.png", "alpha/9.png"), r"TestImages\.txt:1: no image .*9\.png"),
        ("indoor67", damage("TestImages.txt", "alpha/5.png", "delta/5.png"), r"TestImages\.txt:1: no image"),
        ("indoor67", lambda folder: (folder / "TrainImages.txt").write_text(""), r"TrainImages\.txt:1: an empty list"),
        ("action40", damage("ImageSplits/actions.txt", "alpha", "omega"), r"omega_train\.txt: no such file"),
        ("action40", damage("ImageSplits/beta_test.txt", "beta_005", "beta_999"), r"beta_test\.txt:1: no image"),
        ("caltech256", damage("test.txt", "b 5.png 0", "b 5.png x"), r"test\.txt:1: 'x'; a whole number"),
        ("caltech256", damage("test.txt", "b 5.png 0", "b 5.png 7"), r"test\.txt:1: label 7, but .* has 3 names"),
        ("caltech256", damage("train.txt", "a b 0.png 0", "0"), r"train\.txt:1: '.*'; expected a path"),
        (
            "scene15",
            lambda folder: (folder / "alpha").rename(folder.parent / "x"),
            r"class 'beta' has 9 images; .*--training",
        ),
        ("sun-attribute", save("images.mat", images=np.zeros((3, 1))), r"images\.mat: images 1 is no text"),
        ("sun-attribute", save("attributeLabels_continuous.mat", labels_cv=np.zeros((2, 24))), r"2×24 .*24×2"),
        (
            "sun-attribute",
            save("attributeLabels_continuous.mat", labels_cv=np.ones((24, 2))),
            r"'sailing': 24 images with",
        ),
        (
            "sun-attribute",
            lambda folder: (folder / "images/a/abbey/sun_03.png").unlink(),
            r"images\.mat: image \d+: no",
        ),
    ],
)
def test_a_faulty_copy_is_refused_with_file_and_line(tmp_path, mat_in_process, name, fault, message):
    folder = tmp_path / DATA_SETS[name].folders[0]
    folder.mkdir()
    WRITERS[name][1](folder)
    fault(folder)
    with pytest.raises(PycamError, match=message):
        DATA_SETS[name].open(folder, **({"training": 9} if name == "scene15" else {}))


def test_a_number_of_training_images_for_fixed_splits_is_refused(root):
    for name in ("indoor67", "caltech256"):
        with pytest.raises(UsageError, match=r"5 training images: .* comes with its splits"):
            DATA_SETS[name].open(root / WRITERS[name][0], training=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sets", "caltech10"], "--sets caltech10: did you mean 'caltech101'?"),
        (["--models", "vgg"], "--models vgg: expected some of bvlc-caffenet, bvlc-googlenet, googlenet-cam"),
        (["--blob", "fc7"], "--blob has no effect here: it is for the net of --model; give --model too"),
        (["--sets", "sun397,scene15"], "none of the data sets is in it: SUN397: not found; get it from https://"),
    ],
)
def test_choices_that_cannot_be_are_refused(tmp_path, capsys, arguments, message):
    assert main(["paper", "table5", "--data", str(tmp_path), *arguments]) in (2, GroundTruthError.exit_code)
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_missing_folder_is_one_line(tmp_path, capsys):
    assert main(["paper", "table5", "--data", str(tmp_path / "none")]) == GroundTruthError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert "none: cannot be read (No such file or directory); expected a folder of data sets" in line


@pytest.mark.paper
@pytest.mark.shared
def test_the_lists_of_caltech101_are_read(shared):
    found = DATA_SETS["caltech101"].open(shared / "data" / "caltech101")
    assert len(found.class_names) == 101
    assert (len(found.splits[0].training), len(found.splits[0].test)) == (3030, 1692)
    assert np.bincount(found.labels[found.splits[0].training]).tolist() == [30] * 101
