"""The command line: a module for every subcommand of ``thalweg``."""
