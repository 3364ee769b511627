"""OpenCV's wheels: several of them overwrite each other's files, and who removes one removes files of the others."""

from __future__ import annotations

from importlib import metadata

OPENCV = "opencv-python-headless"


def opencv_wheels() -> list[str]:
    """Return the installed distributions that have a part in the package cv2."""
    return sorted(set(metadata.packages_distributions().get("cv2", ())))


def opencv_fix() -> str:
    """Return the command that installs OpenCV anew, in place of all that is there."""
    wheels = " ".join(opencv_wheels())
    removed = f"pip uninstall -y {wheels} && " if wheels else ""
    return f"{removed}pip install {OPENCV}"


def has_opencv() -> bool:
    """Return whether OpenCV can be imported, and is more than an empty folder."""
    try:
        import cv2
    except ImportError:
        return False
    return hasattr(cv2, "imdecode")
