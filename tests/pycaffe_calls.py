"""The calls of docs/pycaffe.md: each row's code, run after the document's own lines, in real Caffe or here.

As a script it runs in the Python of real Caffe, which may be older than pycam: it needs the standard library and NumPy.
"""

import ast
import json
import re
import sys
import warnings

import numpy as np


def read(document):
    """Return the lines that run once, those that run before each row, and for the code of each row what it gives."""
    _, once, before = re.findall(r"^```python\n(.+?)^```$", document, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \|", document, re.MULTILINE)
    return once, before, rows


def for_caffe(code):
    """Change the imports to those of a script for Caffe."""
    return code.replace("from pycam import pycaffe as caffe", "import caffe").replace("pycam.pycaffe", "caffe")


def run(once, before, rows):
    """Run the rows in the current folder; return for each what its last expression gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(once, {})
        return [_outcome(before, row) for row in rows]


def _outcome(before, row):
    names = {}
    exec(before, names)
    *statements, last = ast.parse(row).body
    try:
        exec(compile(ast.Module(statements, []), row, "exec"), names)
        return plain(eval(compile(ast.Expression(last.value), row, "eval"), names))
    except Exception as error:
        return {"raises": [each.__name__ for each in type(error).__mro__], "message": str(error)}


def plain(value):
    """Convert a value to what JSON has; of an array, its shape, dtype and numbers are kept."""
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "dtype": str(value.dtype), "values": value.ravel().tolist()}
    if isinstance(value, dict):
        return {"keys": list(value), "items": [plain(each) for each in value.values()]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return list(value)
    return [plain(each) for each in value]  # tuples, lists, and the vectors of Boost.Python


if __name__ == "__main__":
    json.dump(run(*map(for_caffe, sys.argv[1:3]), json.loads(sys.argv[3])), sys.stdout)
