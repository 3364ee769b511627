"""Linear classifiers of features: one-vs-rest support vector machines, as the paper's section 4 uses them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import EngineError, UsageError

SCALES = ("mean-norm", "raw", "standard", "l2")
"""What features are divided by before the classifier is fitted."""


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """A linear classifier of features as a net gives them: what was done to the features is folded into it.

    Attributes
    ----------
    weights : (T, K) float64
        One row per class.
    bias : (T,) float64
        What is added to each score.
    classes : (T,) int64
        The label of each row, in rising order.
    scale : str
        What was done to the features, one of `SCALES`. Only `l2` is not folded: its rows are for features that are
        divided by their own norm.
    settings : mapping
        How the classifier was fitted.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    classes: NDArray[np.int64]
    scale: str = "raw"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def unit_norm(self) -> bool:
        """Whether features are divided by their own L2 norm."""
        return self.scale == "l2"

    def decisions(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the decision values (margins) of features: (N, K) -> (N, T) float64."""
        features = np.asarray(values, np.float64)
        scores: NDArray[np.float64] = (_unit(features) if self.unit_norm else features) @ self.weights.T + self.bias
        return scores

    def predict(self, values: ArrayLike) -> NDArray[np.int64]:
        """Return the labels with the largest decision values: (N, K) -> (N,) int64."""
        labels: NDArray[np.int64] = self.classes[self.decisions(values).argmax(axis=1)]
        return labels


def fit_classifier(
    values: ArrayLike,
    labels: ArrayLike,
    *,
    c: float = 1.0,
    scale: str = "mean-norm",
    bias: bool = False,
    class_weight: str | None = None,
    tolerance: float = 1e-4,
    max_iter: int = 10000,
    seed: int = 0,
    dual: bool = False,
) -> LinearClassifier:
    """Fit a one-vs-rest linear support vector machine with squared hinge loss (LIBLINEAR, through scikit-learn).

    Parameters
    ----------
    values : (N, K) array
        Features, one row per image.
    labels : (N,) array of int
        The label of each image; two or more different ones.
    c : float
        The weight of the loss. It has a meaning only together with the scale of the features.
    scale : {"mean-norm", "raw", "standard", "l2"}
        Features are divided by the mean of their norms; used as they are; reduced by their mean and divided by their
        standard deviation, channel by channel; or divided each by its own norm.
    bias : bool
        Whether a bias is learned. It is regularised as a weight is.
    class_weight : {None, "balanced"}
        `balanced` weights the loss of a class by the inverse of its number of images.
    tolerance, max_iter
        When the solver stops.
    seed : int
        The order in which the dual solver visits images. The primal solver has no chance in it.
    dual : bool
        Whether the dual problem is solved, as LIBLINEAR does by default.

    Returns
    -------
    LinearClassifier
        `settings["converged"]` tells whether the solver stopped before `max_iter`.

    Raises
    ------
    UsageError
        There is only one label, the numbers of rows and labels differ, a value is not finite, or an option is invalid.
    EngineError
        scikit-learn is not installed.
    """
    features, targets = np.asarray(values, np.float64), np.asarray(labels, np.int64)
    _check(features, targets)
    if scale not in SCALES:
        raise UsageError(f"scale is {scale!r}; expected one of {', '.join(SCALES)}")
    if not 0 < c < np.inf or not 0 < tolerance < np.inf or max_iter < 1:
        raise UsageError(f"c {c}, tolerance {tolerance}, max_iter {max_iter}: expected finite numbers above 0")
    try:
        import sklearn
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise EngineError(f"fitting needs scikit-learn: pip install 'caffe-cam[paper]' ({error})") from None

    shift, factor = np.zeros(features.shape[1]), np.ones(features.shape[1])
    if scale == "mean-norm":
        factor /= float(np.linalg.norm(features, axis=1).mean()) or 1.0
    elif scale == "standard":
        shift, deviation = features.mean(axis=0), features.std(axis=0)
        constant = np.ptp(features, axis=0) == 0
        # A channel that never changes says nothing of the class.
        factor = np.where(constant, 0.0, 1 / np.where(constant, 1.0, deviation))
    scaled = _unit(features) if scale == "l2" else (features - shift) * factor
    machine = LinearSVC(
        C=c,
        dual=dual,
        tol=tolerance,
        fit_intercept=bias,
        class_weight=class_weight,
        max_iter=max_iter,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(scaled, targets)

    learned, offset = machine.coef_, np.broadcast_to(machine.intercept_, len(machine.coef_))
    if len(machine.classes_) == 2:
        # One row tells two classes apart; it is positive for the second one.
        learned, offset = np.vstack([-learned, learned]), np.concatenate([-offset, offset])
    weights = learned * factor
    settings = {
        "solver": f"LIBLINEAR, scikit-learn {sklearn.__version__}, {'dual' if dual else 'primal'}",
        "loss": "squared hinge",
        "c": c,
        "scale": scale,
        "bias": bias,
        "class_weight": class_weight or "none",
        "tolerance": tolerance,
        "max_iter": max_iter,
        "converged": bool(np.max(machine.n_iter_) < max_iter),
    }
    if dual:
        settings["seed"] = seed
    return LinearClassifier(weights, offset - weights @ shift, machine.classes_.astype(np.int64), scale, settings)


def _check(features: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise UsageError(f"features {features.shape} and labels {labels.shape}: expected (N, K) and (N,)")
    if not np.isfinite(features).all():
        row = int(np.argmin(np.isfinite(features).all(axis=1)))
        raise UsageError(f"the features of row {row} are not finite")
    found = np.unique(labels)
    if len(found) < 2:
        one = f"only label {found[0]}" if len(found) else "no label"
        raise UsageError(f"{one} in {len(labels)} rows: a classifier needs two classes or more")


def _unit(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide rows by their L2 norms; a row of zeros stays."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms == 0, 1.0, norms)
