"""Generates the prototxts of the SFD MobileNet-V2 family, named layer for layer as published."""
