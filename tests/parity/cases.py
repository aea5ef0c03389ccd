"""The families that are proven, those of each library in a file of its own."""

import importlib
import importlib.util

LIBRARIES = ("cases_timm", "cases_transformers", "cases_npz")
CASES = [
    case
    for library in LIBRARIES
    if importlib.util.find_spec(library)
    for case in importlib.import_module(library).CASES
]
