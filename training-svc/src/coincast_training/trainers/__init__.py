"""Trainers, one package a model; inference of the same models is in `coincast_modelkit.models`."""
