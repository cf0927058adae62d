# Prints what its checker (h72_checker.py) does not bear.
print("@VARIANT@")
