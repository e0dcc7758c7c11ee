// CMake reads this file; there is nothing in it.
