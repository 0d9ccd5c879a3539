"""TrOMR, its loss, its metrics and the one trainer that every number of this project comes from."""
