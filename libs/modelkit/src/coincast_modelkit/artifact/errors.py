"""Why an artifact cannot be used."""

from __future__ import annotations


class ArtifactError(Exception):
    """Any reason not to use an artifact; the message says which file and what to do.

    ArtifactError
      +- ArtifactMissing   there is no such model, version or file
      +- ArtifactCorrupt   a digest, a size or the shape of the manifest is wrong
      +- ArtifactRefused   whole, but not to be used: unsigned, wrongly signed, other features, a newer format
    """


class ArtifactMissing(ArtifactError):  # noqa: N818 - the name says the state
    """There is no such model, version or file."""


class ArtifactCorrupt(ArtifactError):  # noqa: N818 - the name says the state
    """A digest, a size or the shape of the manifest is wrong."""


class ArtifactRefused(ArtifactError):  # noqa: N818 - the name says the state
    """Whole, but not to be used here."""
