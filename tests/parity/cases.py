"""The families that are proven, those of each library in a file of its own."""

import importlib

LIBRARIES = ("cases_timm", "cases_transformers", "cases_npz")
CASES = [case for library in LIBRARIES for case in importlib.import_module(library).CASES]
