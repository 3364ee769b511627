"""Nets: Caffe's layers and graphs, made explicit once for every engine.

The meaning of a net belongs here: layers (`layers`), linking and checking them (`net`), writing a new net in Python
(`spec`), making a CAM net from another net (`surgery`), and weights of other frameworks (`tensorflow`). The syntax of
Caffe's files belongs to `pycam.formats`; computing values belongs to `pycam.engines`.
"""

from pycam.net.net import CamHead, Net, Params, Sources, net_from_message, read_net
from pycam.net.state import net_state, takes_part

__all__ = ["CamHead", "Net", "Params", "Sources", "net_from_message", "net_state", "read_net", "takes_part"]
