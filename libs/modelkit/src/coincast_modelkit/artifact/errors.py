"""Errors of reading an artifact."""

from __future__ import annotations


class ArtifactError(Exception):
    """Base of all errors that make an artifact unusable; the message names the file and the fix.

    ArtifactError
      +- ArtifactMissing   there is no such model, version or file
      +- ArtifactCorrupt   a digest, a size or the shape of the manifest is wrong
      +- ArtifactRefused   intact, but must not be used: unsigned, wrong signature, features or format
    """


class ArtifactMissing(ArtifactError):  # noqa: N818 - the name says the state
    """There is no such model, version or file."""


class ArtifactCorrupt(ArtifactError):  # noqa: N818 - the name says the state
    """A digest, a size or the shape of the manifest is wrong."""


class ArtifactRefused(ArtifactError):  # noqa: N818 - the name says the state
    """The artifact is intact, but must not be used here."""
