"""Trains a student detector to predict what teacher detectors predict."""
