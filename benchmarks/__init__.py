"""Speed: every benchmark prints ratios to named baselines that it measured in the same run."""
