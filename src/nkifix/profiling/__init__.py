"""What a kernel costs on a case, measured on the emulator by documented formulas: data first, then its renderings."""
