"""Whether a caller may use an endpoint, and what they are told where not."""

from __future__ import annotations

from coincast_gateway.asgi_types import Scope
from coincast_gateway.auth.authenticator import OPEN, AuthResult
from coincast_gateway.errors.problems import FORBIDDEN, UNAUTHORIZED, UNAVAILABLE, Problem
from coincast_gateway.errors.validation import ProblemException


def admission_of(scope: Scope) -> AuthResult:
    """Who asks; everyone may do everything where no gate stands in front."""
    admission: AuthResult = scope.get("coincast.admission", OPEN)
    return admission


def permitted(scope: Scope, wanted: str) -> AuthResult:
    """The admission. Raises Refused: 401 without a good key, 403 where the key lacks the scope."""
    admission = admission_of(scope)
    if wanted == "none" or wanted in admission.scopes:
        return admission
    if admission.keys_unavailable:
        detail = "API keys cannot be checked at present; nobody is let in until they can."
        raise ProblemException(Problem(UNAVAILABLE, detail, field="X-API-Key", retry_after_seconds=2.0))
    if admission.caller != "anonymous":
        detail = f"The key {admission.caller!r} lacks the scope {wanted!r}."
        raise ProblemException(
            Problem(FORBIDDEN, detail, field="X-API-Key", allowed=f"a key with the scope {wanted}")
        )
    detail = "The API key is unknown or revoked." if admission.invalid_key else "This needs an API key."
    raise ProblemException(
        Problem(UNAUTHORIZED, detail, field="X-API-Key", allowed="X-API-Key: KEY, or a Bearer token")
    )
