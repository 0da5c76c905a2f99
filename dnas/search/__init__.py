"""Architecture search: black-box strategies, and differentiable methods."""
