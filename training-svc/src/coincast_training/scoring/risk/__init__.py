"""Score served risk answers: consume their stream, score each day when it is over, publish the record."""
