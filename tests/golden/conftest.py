"""The scripts that made the arrays need packages that the tests do not."""

collect_ignore_glob = ["make_*.py"]
