"""Score served risk answers: consume their stream, score each day after its close, publish the record."""
