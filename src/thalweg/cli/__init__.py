"""The command line: ``thalweg collect | train | evaluate | plan | report | compare | doctor``."""
