"""Models with a fitted head: the net of some features, with a linear classifier of them as its class weights."""

from __future__ import annotations

from collections.abc import Sequence

from pycam.model import Model
from pycam.net.fitted_head import fitted_net
from pycam.paper.classifier import LinearClassifier
from pycam.zoo.cards import Card, Weights
from pycam.zoo.labels import Labels


def fitted_model(
    model: Model, blob: str, classifier: LinearClassifier, names: Sequence[str], *, pooling: str = "average"
) -> Model:
    """Return a model whose classes are those of a classifier, for `pycam.predict.make_cam`.

    Parameters
    ----------
    model : Model
        The model whose features the classifier was fitted to.
    blob : str
        The features.
    classifier : LinearClassifier
        Its rows become the class weights.
    names : sequence of str
        The label of each row.
    pooling : {"average", "max"}
        How the features were pooled.

    Returns
    -------
    Model
        With the preprocessing of `model`. Its scores are margins, without a softmax.

    Raises
    ------
    NetError
        As `pycam.net.fitted_head.fitted_net`.
    """
    net, head = fitted_net(
        model.net, blob, classifier.weights, classifier.bias, pooling=pooling, unit_norm=classifier.unit_norm
    )
    # Only a card can name the head of `unit_norm`.
    card = Card(
        "fitted-head",
        "",
        Weights("fitted-head.caffemodel"),
        feature_blob=head.feature_blob,
        class_layer=head.class_layer,
        score_blob=head.score_blob,
    )
    return Model("fitted-head", net, model.preprocessing, Labels(tuple(names)), card)
