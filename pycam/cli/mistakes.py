"""What a refused command line probably meant: the habits of other programs, and blanks that need quotes.

Each rule knows one mistake. It gives the command line that works, or nothing where another meaning is possible.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath

from pycam.cli.examples import EXAMPLES
from pycam.errors import PycamError
from pycam.images.files import IMAGE_SUFFIXES

OTHER_NAMES = {
    "--out": ("--output", "--output-dir", "--output_dir", "--outdir", "--save-path", "--save_path", "--dest", "-o"),
    "--batch": ("--batch-size", "--batch_size", "--batchsize", "-b"),
    "--prototxt": ("--net", "--deploy", "--model-def", "--model_def", "--proto", "--def"),
    "--weights": ("--caffemodel", "--pretrained", "--pretrained-model", "--pretrained_model", "--checkpoint"),
    "--top": ("--topk", "--top-k", "--top_k", "-k"),
    "--model": ("--arch", "--network", "--architecture"),
    "--layer": ("--target-layer", "--target_layer", "--target-layers"),
    "--class": ("--class-idx", "--class_idx", "--target-class", "--category", "--class-index"),
    "--labels": ("--class-names", "--class_names", "--synsets", "--label"),
    "--mean": ("--mean-file", "--mean_file", "--mean-values", "--mean_value", "--means"),
    "--input-scale": ("--scale", "--input_scale"),
    "--method": ("--cam-method", "--cam_method"),
    "--ground-truth": ("--gt", "--annotations", "--ground_truth"),
    "--workers": ("--num-workers", "--num_workers", "--jobs", "-j"),
}
"""Names that other programs have for an option."""

ANOTHER = {other: name for name, others in OTHER_NAMES.items() for other in others}

IMAGE_OPTIONS = ("--image", "--images", "--img", "--input", "--image-path", "--image_path", "--img_path", "-i")
DEVICES = {"--gpu": "cuda", "--gpus": "cuda", "--cuda": "cuda", "--use-cuda": "cuda", "--use_cuda": "cuda"}

MOST_PIECES = 8
"""The largest number of words that may be one name."""

VERBS = {name: ["heatmap"] for name in ("predict", "classify", "cam", "gradcam", "run", "infer", "forward", "test")}
VERBS |= {"version": ["--version"], "help": ["--help"], "eval": ["evaluate"], "time": ["bench"], "finetune": ["train"]}


@dataclass(frozen=True)
class Line:
    """A command line that was refused.

    Attributes
    ----------
    words : sequence of str
        Its words, without the program's.
    message : str
        Why it was refused.
    options : collection of str
        The options of its command, as far as it is known.
    """

    words: Sequence[str]
    message: str
    options: Collection[str] = ()

    def value(self, option: str) -> int:
        """Return the place of an option's first value, or 0."""
        return self.words.index(option) + 1 if option in self.words[:-1] else 0

    def following(self, start: int) -> list[str]:
        """Return the words from a place on, up to the next option."""
        words = self.words[start:]
        return list(words[: next((n for n, word in enumerate(words) if word.startswith("-")), len(words))])


Rule = Callable[[Line], str]


def advice(words: Sequence[str], message: str, options: Collection[str] = ()) -> str:
    """Return what a refused command line probably meant: one sentence with the command that works, or "".

    Parameters
    ----------
    words : sequence of str
        The command line, without the program.
    message : str
        Why it was refused.
    options : collection of str
        The options of its command.
    """
    # A name with a line break or a control character cannot be typed as it is shown.
    if not words or not all(word.isprintable() for word in words):
        return ""
    line = Line(words, message, options)
    return next((told for rule in RULES if (told := rule(line))), "")


def _try(*words: str) -> str:
    return f"try `{shlex.join(['pycam', *words])}`"


def _is_model(word: str) -> bool:
    from pycam import zoo

    with suppress(PycamError):
        return bool(zoo.card(word)) and os.sep not in word
    return False


def _is_image(word: str) -> bool:
    return PurePath(word).suffix.lower() in IMAGE_SUFFIXES


def command_later(line: Line) -> str:
    """`pycam --model googlenet-cam heatmap fox.jpg`, `pycam googlenet-cam heatmap fox.jpg`."""
    words = line.words
    commands = {name.split()[0] for name in EXAMPLES}
    places = [place for place, word in enumerate(words) if word in commands]
    if words[0] in commands or len(places) != 1 or not line.message.startswith(("No such command", "No such option")):
        return ""
    (place,) = places
    before, after = words[:place], words[place:]
    if before[0].startswith("-"):
        return "the command comes first: " + _try(*after, *before)
    if len(before) == 1 and _is_image(before[0]):
        return "the command comes first: " + _try(after[0], *before, *after[1:])
    if len(before) == 1 and after[0] == "heatmap" and _is_model(before[0]):
        return "the command comes first: " + _try(*after, "--model", *before)
    return ""


def no_command(line: Line) -> str:
    """`pycam googlenet-cam fox.jpg`, `pycam fox.jpg`, `pycam list`, `pycam predict fox.jpg`."""
    if not line.message.startswith("No such command"):
        return ""
    from pycam.zoo import BUNDLED

    first, *rest = line.words
    if first == "report" and rest:
        return report_of_files(rest)
    if _is_image(first):
        return "an image is an argument of a command: " + _try(
            "heatmap", *line.words, *([] if {"--model", "-m"} & {*rest} else ["--model", BUNDLED])
        )
    if _is_model(first):
        return f"{first} is a model: " + _try("heatmap", *(rest or ["IMAGE"]), "--model", first)
    if first in VERBS:
        return _try(*VERBS[first], *rest)
    found = [name.split() for name in EXAMPLES if name.split()[1:] == [first]]
    return _try(*found[0], *rest) if len(found) == 1 else ""


def report_of_files(given: Sequence[str]) -> str:
    """`pycam report *.jpg`, `pycam report runs/googlenet`."""
    from pycam.zoo import BUNDLED

    if os.path.isdir(given[0]):  # noqa: PTH112
        return "of a run there is a page, or tables: " + _try("report", "html", *given, "--out", "report.html")
    if not _is_image(given[0]):
        return ""
    model = [] if {"--model", "-m"} & {*given} else ["--model", BUNDLED]
    out = [] if "--out" in given else ["--out", "report.html"]
    return "a page of images is made by `report html`: " + _try("report", "html", *given, *out, *model)


def onnx_file(line: Line) -> str:
    """`heatmap fox.jpg net.onnx`, `--prototxt net.onnx`, `--onnx googlenet-cam`: an ONNX file elsewhere, or none."""
    words = line.words
    place = line.value("--onnx")
    if place and _is_model(words[place]) and "an ONNX model, but: No such file" in line.message:
        return f"{words[place]} is a model: " + _try(*words[: place - 1], "--model", *words[place:])
    if line.message.startswith("no model is given"):
        found = next((word for word in words[1:] if word.endswith(".onnx") and os.path.isfile(word)), "")  # noqa: PTH113
    else:
        found = line.message.partition(": an ONNX file is a net and its weights in one")[0]
    if found not in words:
        return ""
    files = {at for name in ("--prototxt", "--weights") if (value := line.value(name)) for at in (value - 1, value)}
    rest = [word for at, word in enumerate(words) if at not in files and word != found]
    return "an ONNX file is given with --onnx: " + _try(*rest, "--onnx", found)


def a_model_among_arguments(line: Line) -> str:
    """`pycam heatmap fox.jpg googlenet-cam`."""
    if not line.message.startswith("no model is given"):
        return ""
    found = next((word for word in line.words[1:] if not word.startswith("-") and _is_model(word)), None)
    if found is None:
        return ""
    rest = [word for word in line.words if word != found]
    return f"{found} is a model: " + _try(*rest, "--model", found)


def file_as_model(line: Line) -> str:
    """`--model deploy.prototxt --weights my.caffemodel`: a file of a model as its name."""
    names = {".prototxt": ("--prototxt", "--weights"), ".caffemodel": ("--weights", "--prototxt")}
    place = line.value("--model") or line.value("-m")
    right, other = names.get(PurePath(line.words[place]).suffix, ("", ""))
    if not place or "a file of a model, not its name" not in line.message:
        return ""
    if line.value(other):
        return _try(*line.words[: place - 1], right, *line.words[place:])
    return f"{line.words[place]} is given with {right}, and the other file with {other}"


def blanks(line: Line) -> str:
    """`--class red fox`, `--mean 104 117 123`, `--layers conv1 conv2`: a value in several words."""
    for option, join in (("--class", " "), ("--mean", ","), ("--std", ","), ("--layers", ",")):
        place = line.value(option)
        several = line.following(place) if place else []
        if len(several) < 2 or any(os.path.exists(word) or _is_image(word) for word in several):  # noqa: PTH110
            continue
        if option == "--class" and not line.message.startswith(("no class", repr(several[0]))):
            continue
        if option in ("--mean", "--std") and not all(_is_number(word) for word in several):
            continue
        if option == "--layers" and "." in "".join(several):
            continue
        value = join.join(word.strip(",") for word in several)
        words = [*line.words[:place], value, *line.words[place + len(several) :]]
        how = "a label of several words needs quotes" if join == " " else "values are separated by commas, not blanks"
        return f"{how}: {_try(*words)}"
    return ""


def name_in_pieces(line: Line) -> str:
    """`pycam heatmap my photos/red fox.jpg`: the name of a file has blanks."""
    words = line.words
    if not any(part in line.message for part in ("No such file", "could not be read", "unexpected extra argument")):
        return ""
    for start in range(1, len(words)):
        for stop in range(start + 2, min(start + MOST_PIECES, len(words)) + 1):
            name = " ".join(words[start:stop])
            if os.path.exists(name) and not any(map(os.path.exists, words[start:stop])):  # noqa: PTH110
                return "a name with blanks needs quotes: " + _try(*words[:start], name, *words[stop:])
    return ""


def several_values(line: Line) -> str:
    """`figure --method cam --method gradcam`: the command has `--methods cam,gradcam`."""
    for name in ("--model", "--method", "--layer"):
        places = [place for place, word in enumerate(line.words[:-1]) if word == name]
        unknown = line.message.partition(" (")[0] == f"No such option: {name}"
        if unknown and places and (several := f"{name}s") in line.options:
            values = ",".join(line.words[place + 1] for place in places)
            rest = [word for place, word in enumerate(line.words) if not {place, place - 1} & {*places}]
            return "several values stand in one option: " + _try(*rest, several, values)
    return ""


def one_value_each(line: Line) -> str:
    """`heatmap --methods cam,gradcam`, `--method cam,gradcam`: the command has `--method cam --method gradcam`."""
    if line.words[0] not in ("heatmap", "serve") and [*line.words[:2]] != ["report", "html"]:
        return ""
    for name in ("--model", "--method", "--layer"):
        for given, told in ((f"{name}s", f"No such option: {name}s"), (name, "")):
            place = line.value(given)
            values = line.words[place].split(",") if place else []
            if all(values) and place and told in line.message and (told or repr(line.words[place]) in line.message):
                each = [word for value in values for word in (name, value)]
                how = f"{name} is given once for each value"
                return f"{how}: {_try(*line.words[: place - 1], *each, *line.words[place + 1 :])}"
    return ""


def missing(line: Line) -> str:
    """`pycam compare`: an argument or an option is left out."""
    if not line.message.startswith(("Missing argument", "Missing option")):
        return ""
    names = (" ".join(line.words[:count]) for count in (2, 1))
    return next((f"as in `pycam {EXAMPLES[name][0]}`" for name in names if name in EXAMPLES), "")


def _is_number(word: str) -> bool:
    return word.strip(",").replace(".", "", 1).isdecimal()


def other_option(line: Line) -> str:
    """`--gpu 0`, `--image fox.jpg`, `--output maps`, `--batch-size 4`: the options of other programs."""
    unknown = next((word for word in line.words if line.message.startswith(f"No such option: {word} ")), None)
    unknown = unknown or next((word for word in line.words if line.message == f"No such option: {word}"), None)
    if unknown is None:
        return ""
    place = line.words.index(unknown)
    before, after = line.words[:place], line.words[place + 1 :]
    if (name := ANOTHER.get(unknown)) in line.options:
        return _try(*before, str(name), *after)
    if unknown in DEVICES and "--device" in line.options:
        after = after[1:] if after and after[0].lstrip("-").isdigit() else after
        how = "the engine's device is --device; which of several GPUs it is, CUDA_VISIBLE_DEVICES says"
        return f"{how}: {_try(*before, '--device', DEVICES[unknown], *after)}, or leave it out for the CPU"
    if unknown == "--classes" and "--ground-truth-classes" in line.options:
        return _try(*before, "--labels", *after)  # as they were called here
    if unknown == "--cpu":
        return "the CPU is the default: " + _try(*before, *after)
    if unknown in IMAGE_OPTIONS and "--mean" in line.options:
        return "images are arguments, without an option: " + _try(*before, *after)
    return ""


def device_as_engine(line: Line) -> str:
    """`--engine cuda`."""
    for name in ("cuda", "gpu", "cpu"):
        if line.message.startswith(f"no engine is called {name!r}") and name in line.words:
            place = line.words.index(name)
            words = [*line.words[: place - 1], *line.words[place + 1 :]]
            if name == "cpu":
                return "the CPU is the default device of every engine: " + _try(*words)
            return f"{name} is a device: {_try(*words, '--device', 'cuda')}, or leave it out for the CPU"
    return ""


def swapped_files(line: Line) -> str:
    """`--prototxt net.caffemodel --weights deploy.prototxt`."""
    first, second = line.value("--prototxt"), line.value("--weights")
    if not (first and second and "were two files swapped?" in line.message):
        return ""
    words = list(line.words)
    if words[first].endswith(".prototxt") or words[second].endswith(".caffemodel"):
        return ""
    words[first], words[second] = words[second], words[first]
    return _try(*words)


def solver_as_argument(line: Line) -> str:
    """`pycam train solver.prototxt`."""
    first, *rest = line.words
    if first != "train" or "--solver" in rest or not (rest and rest[0].endswith(".prototxt")):
        return ""
    return _try("train", "--solver", *rest)


RULES: Sequence[Rule] = (
    command_later,
    no_command,
    onnx_file,
    a_model_among_arguments,
    file_as_model,
    blanks,
    other_option,
    device_as_engine,
    swapped_files,
    solver_as_argument,
    name_in_pieces,
    several_values,
    one_value_each,
    missing,
)
