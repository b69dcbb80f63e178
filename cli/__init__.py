"""The command ``seqgan-music``: one file for each of its verbs, each with one call into the library."""
