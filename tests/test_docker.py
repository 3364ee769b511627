"""What can be said of the images without building them: `make docker` builds and tries them."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
TOOLS = Path(sys.executable).parent
DOCKERFILES = sorted(DOCKER.glob("*/Dockerfile"))
SCRIPTS = sorted(path for path in DOCKER.rglob("*") if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh"))
EXTRAS = {"openvino", "ncnn", "opencv", "paper", "web"}
LOCKS = {
    "caffe/requirements.txt": EXTRAS,
    "gpu/requirements.txt": {*EXTRAS, "torch"},
    "gpu/requirements-cpu.txt": {*EXTRAS, "torch"},
}


def commands() -> Iterator:
    """Give the Docker commands that documents show, each with the text before it."""
    for document in ("README.md", "docs/reproduce.md", "docker/compose.yaml"):
        text = re.sub(r"\\\n\s*(#\s+)?", " ", (ROOT / document).read_text("utf-8"))
        for found in re.finditer(r"^[\s#]*(docker (?:run|compose) .+)$", text, re.MULTILINE):
            yield pytest.param(text[: found.start()], found[1], id=f"{document}: {found[1]}")


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        list(map(str, command)), env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True
    )


def name(path: Path) -> str:
    return str(path.relative_to(DOCKER))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=name)
def test_linter_finds_nothing_in_dockerfile(dockerfile):
    found = run(TOOLS / "hadolint", "--config", DOCKER / "hadolint.yaml", dockerfile)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_shellcheck_finds_nothing(script):
    found = run(TOOLS / "shellcheck", script)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_script_can_be_run(script):
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize(("lock", "extras"), LOCKS.items(), ids=LOCKS)
def test_what_the_project_needs_is_pinned(lock, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    lines = [line for line in (DOCKER / lock).read_text().splitlines() if not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    for requirement in map(Requirement, needed):
        # The build for CUDA is a package of its own, in the place of the other.
        on_gpu = requirement.name == "onnxruntime" and "onnxruntime-gpu" in pinned
        version = Version(pinned["onnxruntime-gpu" if on_gpu else requirement.name])
        assert version in requirement.specifier, requirement


def test_all_images_hold_the_same_versions():
    pins = [
        dict(line.split("==") for line in (DOCKER / lock).read_text().splitlines() if "==" in line) for lock in LOCKS
    ]
    common = set.intersection(*map(set, pins))
    assert {"numpy", "opencv-python-headless", "pillow", "scipy"} <= common
    assert all(pin[package] == pins[0][package] for pin in pins for package in common)


def test_what_the_package_is_built_from_reaches_the_builder():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel.get("force-include", {}), project["project"]["readme"], "pyproject.toml"}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert needed <= let_through


def test_compose_builds_the_dockerfiles_and_writes_to_no_image():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert set(services) == {"caffe", "serve", "gpu"}
    for service in services.values():
        if "build" in service:
            context = DOCKER / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).resolve() in DOCKERFILES
        else:
            assert service["pull_policy"] == "never"
        places = [volume.rsplit("}", 1)[1] for volume in service["volumes"]]
        assert places == [":/images:ro", ":/models", ":/runs"]


def test_compose_builds_caffe_before_gpu_and_publishes_the_page_on_this_machine_only():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    base = re.search(r"^ARG CAFFE_IMAGE=(\S+)", (DOCKER / "gpu/Dockerfile").read_text(), re.MULTILINE)[1]
    assert services["gpu"]["build"]["additional_contexts"] == {base: "service:caffe"}
    assert services["caffe"]["image"] == services["serve"]["image"] == base
    assert services["serve"]["command"] == "serve --host 0.0.0.0"
    assert services["serve"]["ports"] == ["127.0.0.1:8000:8000"]


@pytest.mark.parametrize(("before", "command"), list(commands()))
def test_docker_commands_fit_the_images_and_make_their_folders(before, command):
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    built = set(re.findall(r"docker build -t (\S+)", before)) | {each["image"] for each in services.values()}
    words = shlex.split(command, comments=True)
    made = {folder for found in re.findall(r"mkdir -p ([^#\n]+)", before) for folder in found.split()}
    if words[1] == "compose":
        assert Path(words[words.index("-f") + 1]) == Path("docker/compose.yaml")
        named = [word for word in words[words.index("-f") + 2 :] if not word.startswith("-")]
        assert named[0] in ("build", "run", "up")
        assert named[1:2] == [] or named[1] in services
        assert named[0] == "build" or {"images", "weights", "runs"} <= made
        return
    image = next(i for i, word in enumerate(words) if word in built)
    options, arguments = words[:image], words[image + 1 :]
    if "--entrypoint" not in options:
        assert options[options.index("--user") + 1] == "$(id -u):$(id -g)"
    for volume in (after for before, after in itertools.pairwise(options) if before == "-v"):
        folder, place = volume.removeprefix("$PWD/").split(":")[:2]
        assert folder in made or folder == "ilsvrc", f"Docker would make {folder} for root"
        assert place in ("/images", "/models", "/runs")
    if arguments[:1] == ["serve"]:
        assert arguments[arguments.index("--host") + 1] == "0.0.0.0"
        assert options[options.index("--publish") + 1] == "127.0.0.1:8000:8000"
    elif arguments[:1] == ["heatmap"]:
        done = run(sys.executable, "-m", "pycam", "heatmap", "--help", COLUMNS="200", PYTHONPATH=str(ROOT))
        assert all(word in done.stdout for word in arguments if word.startswith("--"))


@pytest.fixture
def stubs(tmp_path):
    """A folder for programs that stand in for others, with a `pycam` that tells how it was called."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    program(folder / "pycam", 'echo "$PYCAM_DEVICE: $*"')
    return folder


def program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def enter(stubs: Path, *arguments: str, device: str) -> subprocess.CompletedProcess[str]:
    return run(DOCKER / "entrypoint", *arguments, PATH=f"{stubs}:/usr/bin:/bin", PYCAM_DEVICE=device)


def test_without_a_gpu_the_cpu_computes_and_a_line_says_so(stubs):
    program(stubs / "nvidia-smi", "echo 'No devices were found'")
    found = enter(stubs, "heatmap", "an image.jpg", device="cuda")
    assert found.stdout == "cpu: heatmap an image.jpg\n"
    assert found.stderr.startswith("No GPU is visible here")
    assert found.stderr.count("\n") == 1


def test_a_visible_gpu_computes(stubs):
    program(stubs / "nvidia-smi", "echo 'GPU 0: NVIDIA H200 (UUID: GPU-0)'")
    found = enter(stubs, "heatmap", "fox.jpg", device="cuda")
    assert (found.stdout, found.stderr) == ("cuda: heatmap fox.jpg\n", "")


def test_entrypoint_runs_scripts(stubs):
    program(stubs / "reproduce.sh", 'echo "reproducing $*"')
    assert enter(stubs, "reproduce.sh", "--mini", "x", device="").stdout == "reproducing --mini x\n"


@pytest.mark.parametrize("script", ["evaluate.sh", "compare.sh", "reproduce.sh"])
def test_script_tells_how_it_is_used(script):
    found = run(DOCKER / script, "one")
    assert found.returncode == 2
    assert found.stderr.startswith(f"usage: {script}")


def test_evaluation_names_the_folder_that_is_missing(tmp_path):
    (tmp_path / "ILSVRC2012_img_val").mkdir()
    found = run(DOCKER / "evaluate.sh", "squeezenet-v1.0", tmp_path, tmp_path / "runs")
    assert found.returncode == 1
    assert found.stderr == f"evaluate.sh: there is no folder {tmp_path}/ILSVRC2012_bbox_val/val\n"


def test_models_without_weights_are_left_out_and_named(stubs, tmp_path):
    program(stubs / "pycam", 'test "$1 $2" != "models download"')
    found = run(DOCKER / "reproduce.sh", tmp_path, tmp_path / "runs", PATH=f"{stubs}:/usr/bin:/bin")
    assert found.returncode == 1
    for model in ("googlenet-cam", "vgg16-cam", "alexnetplus-cam", "nin-imagenet", "bvlc-caffenet"):
        assert f"{model} is left out" in found.stderr
    assert found.stderr.endswith("nothing is reproduced\n")


@pytest.mark.shared
@pytest.mark.caffe
@pytest.mark.slow
def test_reproduction_resumes_where_it_was_stopped(shared, stubs, tmp_path):
    # The second time without the certificate, which is made anew, and takes long.
    program(stubs / "pycam", f'[ "$1" = verify ] || exec {TOOLS}/pycam "$@"')

    def reproduce(*programs: Path) -> subprocess.CompletedProcess[str]:
        return run(
            *(DOCKER / "reproduce.sh", "--mini", shared / "data/ilsvrc-mini", tmp_path, "--limit", "2"),
            PYCAM_MODELS=str(shared / "data"),
            PATH=os.pathsep.join(map(str, (*programs, TOOLS, os.environ["PATH"]))),
        )

    first, again = reproduce(), reproduce(stubs)
    assert first.returncode == 0, first.stderr
    assert again.returncode == 0, again.stderr
    assert "resuming: 2 of 2" in again.stderr
    report = json.loads((tmp_path / "squeezenet-v1.0-paper" / "report.json").read_text())
    assert report["images"] == 2
    assert "verified" in (tmp_path / "certificates" / "squeezenet-v1.0.md").read_text()
