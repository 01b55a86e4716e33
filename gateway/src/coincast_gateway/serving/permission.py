"""Whether a caller may use an endpoint, and what they are told where not."""

from coincast_gateway.access.gate import OPEN, Admission
from coincast_gateway.problems import FORBIDDEN, UNAUTHORIZED, UNAVAILABLE, Problem
from coincast_gateway.serving.asgi import Scope
from coincast_gateway.serving.validation import Refused


def admission_of(scope: Scope) -> Admission:
    """Who asks; everyone may do everything where no gate stands in front."""
    admission: Admission = scope.get("coincast.admission", OPEN)
    return admission


def permitted(scope: Scope, wanted: str) -> Admission:
    """The admission. Raises Refused: 401 without a good key, 403 where the key lacks the scope."""
    admission = admission_of(scope)
    if wanted == "none" or wanted in admission.scopes:
        return admission
    if admission.blind:
        detail = "API keys cannot be checked at present; nobody is let in until they can."
        raise Refused(Problem(UNAVAILABLE, detail, field="X-API-Key", retry_after_seconds=2.0))
    if admission.caller != "anonymous":
        detail = f"The key {admission.caller!r} lacks the scope {wanted!r}."
        raise Refused(Problem(FORBIDDEN, detail, field="X-API-Key", allowed=f"a key with the scope {wanted}"))
    detail = "The API key is unknown or revoked." if admission.bad_key else "This needs an API key."
    raise Refused(
        Problem(UNAUTHORIZED, detail, field="X-API-Key", allowed="X-API-Key: KEY, or a Bearer token")
    )
