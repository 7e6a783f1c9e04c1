"""Teaching behaviour: a recipe, the tokens it is learned from, and the run that turns both into an adapter."""
