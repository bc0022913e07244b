"""Weights made elsewhere, and checks of weights before they are used."""
