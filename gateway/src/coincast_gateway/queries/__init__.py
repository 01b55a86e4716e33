"""What may be asked: one frozen model an endpoint, from which both validation and OpenAPI come."""
