"""Prototxts of known architectures, written by generators: no file is copied.

They are slim: few channels and small inputs, but all layers and connections of the originals.
"""
