"""How fast the library is, against yardsticks measured in the same run: ``nox -s bench``.

Each module of ``MODULES`` has its ``ROWS``; :mod:`benchmarks.harness` measures and prints them.
"""
