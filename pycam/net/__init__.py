"""Nets: Caffe's layers and graphs, made explicit once for every engine.

The meaning of a net belongs here: layers (`layers`), linking and checking them (`net`), the layers that class
activation maps are computed from (`heads`), writing a new net in Python (`spec`), making a CAM net from another net
(`surgery`), and weights of other frameworks (`tensorflow`). The syntax of Caffe's files belongs to `pycam.formats`;
computing values belongs to `pycam.engines`.
"""

from pycam.net.class_weights import HeadWeights, head_weights
from pycam.net.heads import (
    CamHead,
    check_scores,
    describe_heads,
    find_head,
    find_heads,
    find_scores,
    named_head,
    score_inputs,
    score_positions,
)
from pycam.net.linear_path import logits_of, positions_of
from pycam.net.net import Net, ParamKey, Sources, net_from_message, read_net
from pycam.net.params import Params
from pycam.net.random_weights import random_weights
from pycam.net.state import net_state, takes_part

__all__ = [
    "CamHead",
    "HeadWeights",
    "Net",
    "ParamKey",
    "Params",
    "Sources",
    "net_from_message",
    "net_state",
    "read_net",
]
__all__ += ["check_scores", "describe_heads", "find_head", "find_heads", "find_scores", "head_weights", "logits_of"]
__all__ += ["named_head", "positions_of", "random_weights", "score_inputs", "score_positions", "takes_part"]
