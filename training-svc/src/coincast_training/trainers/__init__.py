"""Trainers, one package for each model; inference is in `coincast_modelkit.models`."""
