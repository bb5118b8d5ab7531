"""What a kernel costs: cycles by documented formulas, and an estimated schedule. Nothing here was measured."""
