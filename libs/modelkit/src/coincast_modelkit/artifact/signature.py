"""The seal of a manifest: a small file with its digest and, if there is a key, its signature."""

from __future__ import annotations

import hashlib
import hmac
import json

from coincast_modelkit.artifact.errors import ArtifactCorrupt, ArtifactRefused

FIELDS = {"sha256", "hmac_sha256"}


def make_seal(manifest: bytes, key: bytes | None) -> bytes:
    """Return JSON with the SHA-256 of the manifest and, if a key is given, its HMAC-SHA256."""
    seal = {"sha256": hashlib.sha256(manifest).hexdigest()}
    if key:
        seal["hmac_sha256"] = _signature(manifest, key)
    return _encoded(seal)


def _encoded(seal: dict[str, str]) -> bytes:
    return json.dumps(seal, sort_keys=True).encode() + b"\n"


def check_seal(manifest: bytes, seal: bytes, *, key: bytes | None, require_signature: bool) -> bool:
    """Check a seal; return whether the given key signed the manifest, False for no signature or no key.

    Call it before the manifest is parsed.

    Args:
        manifest: Bytes of the manifest.
        seal: Bytes of its seal.
        key: Key of the signature; None does not check it.
        require_signature: Whether an unsigned manifest is refused.

    Raises:
        ArtifactCorrupt: The digest differs or the seal cannot be read.
        ArtifactRefused: The signature is wrong, or required and absent.
    """
    try:
        plain = json.loads(seal)
        digest, signature = str(plain["sha256"]), plain.get("hmac_sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorrupt(f"manifest.seal cannot be read: {error!r}") from error
    # A damaged field name must not make a signed artifact look unsigned.
    if not set(plain) <= FIELDS or _encoded(plain) != seal:
        raise ArtifactCorrupt("manifest.seal is not as it was written")
    if not hmac.compare_digest(digest.encode(), hashlib.sha256(manifest).hexdigest().encode()):
        raise ArtifactCorrupt("manifest.json does not match its seal")
    if require_signature and not key:
        raise ArtifactRefused("a signature is required but no key is set: set the signing key")
    if signature is None:
        if require_signature:
            raise ArtifactRefused("the artifact is unsigned, and a signature is required")
        return False
    if not key:
        return False
    if not hmac.compare_digest(str(signature).encode(), _signature(manifest, key).encode()):
        raise ArtifactRefused("the artifact is signed with another key")
    return True


def _signature(manifest: bytes, key: bytes) -> str:
    return hmac.new(key, manifest, hashlib.sha256).hexdigest()
