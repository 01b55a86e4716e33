"""How the whole system does, in figures and in plain sentences, now and over the last week."""
