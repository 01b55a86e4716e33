"""Fitting code, one file a model; inference of the same models stands in `coincast_modelkit.models`."""
