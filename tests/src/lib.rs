//! Tests of the project as a whole, in `tests/`: the rules of the repository (`tidy`) and the
//! binaries as a user runs them.
