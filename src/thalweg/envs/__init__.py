"""Environment adapters. A simulator is imported only when one of its environments is made."""
