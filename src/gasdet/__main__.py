"""Allows ``python -m gasdet`` and ``torchrun -m gasdet``, which need no console script on the PATH."""

from gasdet.cli import main

main()
