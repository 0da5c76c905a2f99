"""Network morphisms: how trained weights follow a change of the architecture."""
