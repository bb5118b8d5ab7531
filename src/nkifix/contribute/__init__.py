"""Contributing a fix to NxDI: a patch that ``git am`` takes, the texts for it, and the evidence.

The clone is only read. Commits are made in a temporary repository, upstream's tests run in a child process, and the
kit appears in its folder whole or not at all.
"""
