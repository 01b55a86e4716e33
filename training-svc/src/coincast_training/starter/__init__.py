"""Starter versions: pretrained models that ship with the package and serve from the first start on.

`build` trains them on a folder of long daily histories (`make starter`). `install` copies them into the
registry. `level` corrects their widths on the days of the user. `comparison` forecasts the days of a
candidate with a starter, for the promotion gate.
"""
