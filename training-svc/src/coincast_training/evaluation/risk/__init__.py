"""Walk-forward evaluation of risk answers: value at risk, expected shortfall, touches and joint paths.

`runner.evaluate_risk` walks the product's ensemble and its scenario engine over past days and judges every
figure that `acceptance` demands.
"""
