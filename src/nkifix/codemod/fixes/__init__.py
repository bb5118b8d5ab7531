"""One module for one defect."""
