"""How the models that ship were made: `make small-models DATA=folder`."""
