"""Walk-forward evaluation of risk answers: value at risk, expected shortfall, touches and joint paths.

`runner.evaluate_risk` runs the ensemble and the scenario engine of the product on past days, and compares
the results with the criteria of `acceptance`.
"""
