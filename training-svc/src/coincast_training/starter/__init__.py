"""Starter versions: pretrained models that ship with the package and serve from the first start.

`build` trains them on a folder of long daily histories (`make starter`), `install` copies them into an empty
registry, and `comparison` runs a starter again on the forecasts of a candidate, for the promotion gate.
"""
