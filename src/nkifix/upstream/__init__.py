"""Carrying the fix: find the user's upstream, fix it in place or in memory, or make a package of it.

Nothing here imports or executes upstream's code, but for the import hook, which hands the fixed module to the program
that asked for it.
"""
