"""Black-box search: strategies that ask for the evaluation of one architecture after another."""
