"""Alert rules: what they measure, when they fire, whom they tell."""
