"""LBP: subgoals predicted backward from the goal, and a diffusion policy that follows them."""
